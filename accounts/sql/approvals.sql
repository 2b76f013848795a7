-- Approvals: the web writes requests down, one function decides them, the worker carries them out.
-- Whoever writes, the owner of the tables included, is held to the order of states and to two different people.

CREATE OR REPLACE FUNCTION accounts_refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'kept as it was written: % of % refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
REVOKE EXECUTE ON FUNCTION accounts_refuse_change() FROM PUBLIC;

-- Who did what stays as it was written.
CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE ON accounts_auditentry
    FOR EACH ROW EXECUTE FUNCTION accounts_refuse_change();
CREATE OR REPLACE TRIGGER no_truncate BEFORE TRUNCATE ON accounts_auditentry EXECUTE FUNCTION accounts_refuse_change();
CREATE OR REPLACE TRIGGER never_deleted BEFORE DELETE ON accounts_approval
    FOR EACH ROW EXECUTE FUNCTION accounts_refuse_change();
CREATE OR REPLACE TRIGGER no_truncate BEFORE TRUNCATE ON accounts_approval EXECUTE FUNCTION accounts_refuse_change();

CREATE OR REPLACE FUNCTION accounts_is_active_staff(p_user bigint) RETURNS boolean
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT 1 FROM accounts_user WHERE id = p_user AND is_active AND is_staff)
$$;
REVOKE EXECUTE ON FUNCTION accounts_is_active_staff(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION accounts_is_active_staff(bigint) TO clearinghouse_web, clearinghouse_worker;

CREATE OR REPLACE FUNCTION accounts_new_approval() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.status <> 'asked' OR NEW.decided_by_id IS NOT NULL OR NEW.decided_at IS NOT NULL OR NEW.note <> ''
       OR NEW.done_at IS NOT NULL OR NEW.error <> '' OR NEW.announced_at IS NOT NULL OR NEW.answered_at IS NOT NULL THEN
        RAISE EXCEPTION 'an approval starts as a request' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT accounts_is_active_staff(NEW.asked_by_id) THEN
        RAISE EXCEPTION 'only staff ask for approvals' USING ERRCODE = 'insufficient_privilege';
    END IF;
    NEW.asked_at := clock_timestamp();
    RETURN NEW;
END $$;
REVOKE EXECUTE ON FUNCTION accounts_new_approval() FROM PUBLIC;
CREATE OR REPLACE TRIGGER starts_as_a_request BEFORE INSERT ON accounts_approval
    FOR EACH ROW EXECUTE FUNCTION accounts_new_approval();

CREATE OR REPLACE FUNCTION accounts_changed_approval() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF ROW (OLD.id, OLD.kind, OLD.payload, OLD.reason, OLD.customer_id, OLD.once, OLD.asked_by_id, OLD.asked_at,
            OLD.expires_at)
       IS DISTINCT FROM
       ROW (NEW.id, NEW.kind, NEW.payload, NEW.reason, NEW.customer_id, NEW.once, NEW.asked_by_id, NEW.asked_at,
            NEW.expires_at) THEN
        RAISE EXCEPTION 'what was asked stays as it was asked' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF OLD.status <> 'asked' AND ROW (OLD.decided_by_id, OLD.decided_at, OLD.note)
       IS DISTINCT FROM ROW (NEW.decided_by_id, NEW.decided_at, NEW.note) THEN
        RAISE EXCEPTION 'a decision stays as it was made' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF OLD.status IS NOT DISTINCT FROM NEW.status
       AND ROW (OLD.done_at, OLD.error) IS DISTINCT FROM ROW (NEW.done_at, NEW.error) THEN
        RAISE EXCEPTION 'an outcome stays as it was' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF OLD.status <> NEW.status AND NOT (
        (OLD.status = 'asked' AND NEW.status IN ('approved', 'declined', 'withdrawn'))
        OR (OLD.status = 'asked' AND NEW.status = 'expired' AND OLD.expires_at <= clock_timestamp())
        OR (OLD.status = 'approved' AND NEW.status IN ('done', 'failed'))
    ) THEN
        RAISE EXCEPTION 'no approval goes from % to %', OLD.status, NEW.status
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
REVOKE EXECUTE ON FUNCTION accounts_changed_approval() FROM PUBLIC;
CREATE OR REPLACE TRIGGER goes_its_way BEFORE UPDATE ON accounts_approval
    FOR EACH ROW EXECUTE FUNCTION accounts_changed_approval();

-- Approves or declines: the status it has now, or why not: unknown, decided, expired, own, not_staff, asker_left.
CREATE OR REPLACE FUNCTION accounts_decide_approval(p_approval bigint, p_user bigint, p_approve boolean, p_note text)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    request accounts_approval;
BEGIN
    SELECT * INTO request FROM accounts_approval WHERE id = p_approval FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'unknown';
    ELSIF request.asked_by_id = p_user THEN
        RETURN 'own';
    ELSIF NOT accounts_is_active_staff(p_user) THEN
        RETURN 'not_staff';
    ELSIF request.status <> 'asked' THEN
        RETURN 'decided';
    ELSIF request.expires_at <= clock_timestamp() THEN
        RETURN 'expired';
    ELSIF p_approve AND NOT accounts_is_active_staff(request.asked_by_id) THEN
        RETURN 'asker_left';
    END IF;
    UPDATE accounts_approval
    SET status = CASE WHEN p_approve THEN 'approved' ELSE 'declined' END, decided_by_id = p_user,
        decided_at = clock_timestamp(), note = p_note
    WHERE id = p_approval;
    RETURN CASE WHEN p_approve THEN 'approved' ELSE 'declined' END;
END $$;
REVOKE EXECUTE ON FUNCTION accounts_decide_approval(bigint, bigint, boolean, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION accounts_decide_approval(bigint, bigint, boolean, text) TO clearinghouse_web;

-- Takes a request back, for who asked: `withdrawn`, or why not: unknown, decided, not_own.
CREATE OR REPLACE FUNCTION accounts_withdraw_approval(p_approval bigint, p_user bigint)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    request accounts_approval;
BEGIN
    SELECT * INTO request FROM accounts_approval WHERE id = p_approval FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'unknown';
    ELSIF request.asked_by_id <> p_user THEN
        RETURN 'not_own';
    ELSIF request.status <> 'asked' THEN
        RETURN 'decided';
    END IF;
    UPDATE accounts_approval SET status = 'withdrawn' WHERE id = p_approval;
    RETURN 'withdrawn';
END $$;
REVOKE EXECUTE ON FUNCTION accounts_withdraw_approval(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION accounts_withdraw_approval(bigint, bigint) TO clearinghouse_web;

GRANT SELECT, INSERT ON accounts_approval TO clearinghouse_web;
GRANT SELECT ON accounts_approval TO clearinghouse_worker;
GRANT UPDATE (status, done_at, error, announced_at, answered_at) ON accounts_approval TO clearinghouse_worker;
GRANT INSERT ON accounts_auditentry TO clearinghouse_worker;
GRANT SELECT ON accounts_user, accounts_user_groups, auth_group, accounts_customer TO clearinghouse_worker;
GRANT USAGE ON SEQUENCE accounts_approval_id_seq, accounts_auditentry_id_seq TO clearinghouse_web, clearinghouse_worker;
