-- Letters that wait: whoever writes a fact writes its letters, the worker sends them. Their words stay as they were.
CREATE OR REPLACE FUNCTION accounts_keep_notice() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'a notice is sent once and kept: % refused', TG_OP
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE OR REPLACE TRIGGER sent_once BEFORE UPDATE ON accounts_notice FOR EACH ROW WHEN (
    OLD.sent_at IS NOT NULL
    OR ROW (OLD.id, OLD.customer_id, OLD.reference, OLD."to", OLD.letter, OLD.written_at)
       IS DISTINCT FROM
       ROW (NEW.id, NEW.customer_id, NEW.reference, NEW."to", NEW.letter, NEW.written_at)
) EXECUTE FUNCTION accounts_keep_notice();
CREATE OR REPLACE TRIGGER never_deleted BEFORE DELETE ON accounts_notice
    FOR EACH ROW EXECUTE FUNCTION accounts_keep_notice();

REVOKE EXECUTE ON FUNCTION accounts_keep_notice() FROM PUBLIC;
GRANT SELECT, INSERT ON accounts_notice TO clearinghouse_web, clearinghouse_worker;
GRANT UPDATE (not_before, attempts, sent_at, error) ON accounts_notice TO clearinghouse_worker;
GRANT USAGE ON SEQUENCE accounts_notice_id_seq TO clearinghouse_web, clearinghouse_worker;
