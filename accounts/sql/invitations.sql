-- Invitations stay as they were written and end once; seats are taken away by the web, at an owner's wish.
CREATE OR REPLACE FUNCTION accounts_keep_invitation() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'an invitation ends once and is kept: % refused', TG_OP
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE OR REPLACE TRIGGER ends_once BEFORE UPDATE ON accounts_invitation FOR EACH ROW WHEN (
    OLD.accepted_at IS NOT NULL
    OR OLD.withdrawn_at IS NOT NULL
    OR ROW (OLD.id, OLD.customer_id, OLD.email, OLD.role, OLD.invited_by_id, OLD.invited_at, OLD.expires_at)
       IS DISTINCT FROM
       ROW (NEW.id, NEW.customer_id, NEW.email, NEW.role, NEW.invited_by_id, NEW.invited_at, NEW.expires_at)
) EXECUTE FUNCTION accounts_keep_invitation();
CREATE OR REPLACE TRIGGER never_deleted BEFORE DELETE ON accounts_invitation
    FOR EACH ROW EXECUTE FUNCTION accounts_keep_invitation();

REVOKE EXECUTE ON FUNCTION accounts_keep_invitation() FROM PUBLIC;
GRANT SELECT, INSERT ON accounts_invitation TO clearinghouse_web;
GRANT UPDATE (accepted_by_id, accepted_at, withdrawn_at) ON accounts_invitation TO clearinghouse_web;
GRANT SELECT ON accounts_invitation TO clearinghouse_worker;
GRANT USAGE ON SEQUENCE accounts_invitation_id_seq TO clearinghouse_web;
GRANT DELETE ON accounts_membership TO clearinghouse_web;
