-- What is to be told of a document stays as it was written; what was told stays told.
CREATE FUNCTION billing_check_tax_record() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.state = 'recorded'
        OR ROW (OLD.id, OLD.document_id, OLD.top_up_id, OLD.reference, OLD.kind, OLD.original_id, OLD.currency,
                OLD.net_cents, OLD.tax_cents)
            IS DISTINCT FROM
           ROW (NEW.id, NEW.document_id, NEW.top_up_id, NEW.reference, NEW.kind, NEW.original_id, NEW.currency,
                NEW.net_cents, NEW.tax_cents) THEN
        RAISE EXCEPTION 'append-only: a record of tax stays as it is: % refused', TG_OP
            USING ERRCODE = 'integrity_constraint_violation';
    ELSIF current_user = 'clearinghouse_web' AND NOT (OLD.state = 'refused' AND NEW.state = 'due') THEN
        RAISE EXCEPTION 'permission denied: the web only asks again' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER as_written BEFORE UPDATE OR DELETE ON billing_taxrecord
    FOR EACH ROW EXECUTE FUNCTION billing_check_tax_record();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_taxrecord EXECUTE FUNCTION billing_refuse_change();
REVOKE EXECUTE ON FUNCTION billing_check_tax_record() FROM PUBLIC;

GRANT SELECT ON billing_taxrecord TO clearinghouse_web, clearinghouse_worker;
GRANT INSERT ON billing_taxrecord TO clearinghouse_worker;
GRANT UPDATE (state, calculation_id, provider_id, line_id, told_tax_cents, attempt, tries, not_before, failure,
    recorded_at) ON billing_taxrecord TO clearinghouse_worker;
GRANT UPDATE (state, not_before) ON billing_taxrecord TO clearinghouse_web;
GRANT USAGE ON SEQUENCE billing_taxrecord_id_seq TO clearinghouse_worker;

-- A wish is told from where it came; a pro-forma is mailed by whoever may issue it.
CREATE FUNCTION billing_check_document_mail() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF current_user = 'clearinghouse_web' AND NOT EXISTS (
        SELECT 1 FROM billing_document WHERE id = NEW.document_id AND kind = 'pro_forma') THEN
        RAISE EXCEPTION 'permission denied: the web mails pro-forma documents only'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER who_mails BEFORE INSERT ON billing_documentmail
    FOR EACH ROW EXECUTE FUNCTION billing_check_document_mail();
REVOKE EXECUTE ON FUNCTION billing_check_document_mail() FROM PUBLIC;
GRANT INSERT ON billing_documentmail TO clearinghouse_web;
