-- Who may be paid with promotional credit and more is agreed by two: the web lists nobody and lifts no restraint by
-- itself. Restraining somebody, and taking somebody off the list, one person may do at once.
CREATE OR REPLACE FUNCTION signing_check_rule() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF current_user = 'clearinghouse_web' AND (TG_OP = 'INSERT') = (NEW.standing = 'listed') THEN
        RAISE EXCEPTION 'a second person approves this rule' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
REVOKE EXECUTE ON FUNCTION signing_check_rule() FROM PUBLIC;
CREATE OR REPLACE TRIGGER agreed_by_two BEFORE INSERT OR UPDATE ON signing_recipientrule
    FOR EACH ROW EXECUTE FUNCTION signing_check_rule();
