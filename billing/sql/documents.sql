-- Documents are written once, and a number exists exactly when its document does.
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_document
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_document EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_documentfile
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_documentfile EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_delete BEFORE DELETE ON billing_documentcounter
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();

-- The web may offer a pro-forma, which asks for money and proves nothing; all else comes from the worker.
CREATE FUNCTION billing_check_document() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF current_user = 'clearinghouse_web' AND NEW.kind <> 'pro_forma' THEN
        RAISE EXCEPTION 'the web issues pro-forma documents only' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER who_issues BEFORE INSERT ON billing_document
    FOR EACH ROW EXECUTE FUNCTION billing_check_document();
CREATE TRIGGER who_counts BEFORE INSERT OR UPDATE ON billing_documentcounter
    FOR EACH ROW EXECUTE FUNCTION billing_check_document();

-- A series goes up by one at a time.
CREATE FUNCTION billing_check_counter() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF (TG_OP = 'INSERT' AND NEW.last <> 1) OR (TG_OP = 'UPDATE' AND (
        NEW.last <> OLD.last + 1
        OR ROW (NEW.entity_id, NEW.kind, NEW.year) IS DISTINCT FROM ROW (OLD.entity_id, OLD.kind, OLD.year))) THEN
        RAISE EXCEPTION 'a series of documents goes up by one at a time'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER one_by_one BEFORE INSERT OR UPDATE ON billing_documentcounter
    FOR EACH ROW EXECUTE FUNCTION billing_check_counter();

-- Looked at when the transaction commits: the number that was taken has its document.
CREATE FUNCTION billing_check_number_used() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM billing_document WHERE entity_id = NEW.entity_id AND kind = NEW.kind
                   AND year = NEW.year AND sequence = NEW.last) THEN
        RAISE EXCEPTION 'a number without its document' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER used AFTER INSERT OR UPDATE ON billing_documentcounter
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_check_number_used();

CREATE FUNCTION billing_check_sequence() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM billing_documentcounter WHERE entity_id = NEW.entity_id AND kind = NEW.kind
                   AND year = NEW.year AND last = NEW.sequence) THEN
        RAISE EXCEPTION 'a document takes the number its counter has just given'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER numbered BEFORE INSERT ON billing_document
    FOR EACH ROW EXECUTE FUNCTION billing_check_sequence();

GRANT SELECT ON billing_legalentity, billing_documentcounter, billing_document, billing_documentfile,
    billing_documentmail TO clearinghouse_web, clearinghouse_worker;
GRANT INSERT ON billing_legalentity, billing_documentcounter, billing_document TO clearinghouse_web;
GRANT UPDATE (last) ON billing_documentcounter TO clearinghouse_web, clearinghouse_worker;
GRANT INSERT ON billing_legalentity, billing_documentcounter, billing_document, billing_documentfile,
    billing_documentmail TO clearinghouse_worker;
GRANT UPDATE (name, address, country, tax_id, email) ON billing_legalentity TO clearinghouse_worker;
GRANT UPDATE (attempts, not_before, sent_at, error) ON billing_documentmail TO clearinghouse_worker;
