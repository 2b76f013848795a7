-- Kill switches and price ceilings: written by staff through the web, obeyed by signers.
-- A stop is thrown once and lifted once; a ceiling is never changed, only followed by another.
GRANT SELECT, INSERT ON signing_stop, signing_priceceiling TO clearinghouse_web;
GRANT UPDATE (lifted_by_id, lifted_at) ON signing_stop TO clearinghouse_web;
GRANT SELECT ON signing_stop, signing_priceceiling TO clearinghouse_signer, clearinghouse_worker;

CREATE FUNCTION signing_keep_stop() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a stop is lifted once and kept: % refused', TG_OP USING ERRCODE = 'integrity_constraint_violation';
END $$;
REVOKE EXECUTE ON FUNCTION signing_keep_stop() FROM PUBLIC;
CREATE TRIGGER lifted_once BEFORE UPDATE ON signing_stop FOR EACH ROW WHEN (
    OLD.lifted_at IS NOT NULL OR NEW.lifted_at IS NULL
    OR ROW (OLD.id, OLD.scope, OLD.subject, OLD.reason, OLD.set_by_id, OLD.set_at)
       IS DISTINCT FROM ROW (NEW.id, NEW.scope, NEW.subject, NEW.reason, NEW.set_by_id, NEW.set_at)
) EXECUTE FUNCTION signing_keep_stop();
CREATE TRIGGER never_deleted BEFORE DELETE ON signing_stop FOR EACH ROW EXECUTE FUNCTION signing_keep_stop();

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON signing_priceceiling
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON signing_priceceiling EXECUTE FUNCTION billing_refuse_change();
