-- Holds: whoever may place or lift one does it here, so that a customer is frozen exactly while a hold stands.
-- The customer's row is locked first: two at once come one after the other, and the second sees the first.

-- Places a hold once per reference; returns its id, or NULL when it was placed before (lifted or not).
CREATE OR REPLACE FUNCTION accounts_place_hold(
    p_customer bigint, p_code text, p_reference text, p_reason text, p_user bigint
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    placed bigint;
BEGIN
    PERFORM 1 FROM accounts_customer WHERE id = p_customer FOR NO KEY UPDATE;
    INSERT INTO accounts_hold (customer_id, code, reference, reason, placed_by_id)
    VALUES (p_customer, p_code, p_reference, p_reason, p_user)
    ON CONFLICT (reference) DO NOTHING RETURNING id INTO placed;
    IF placed IS NOT NULL THEN
        UPDATE accounts_customer SET status = 'frozen' WHERE id = p_customer AND status = 'active';
    END IF;
    RETURN placed;
END $$;

-- Lifts a hold, once; the customer thaws with the last one. Returns whether this call lifted it.
CREATE OR REPLACE FUNCTION accounts_lift_hold(p_hold bigint, p_reason text, p_user bigint)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    held bigint;
BEGIN
    SELECT customer_id INTO held FROM accounts_hold WHERE id = p_hold;
    PERFORM 1 FROM accounts_customer WHERE id = held FOR NO KEY UPDATE;
    UPDATE accounts_hold SET lifted_at = clock_timestamp(), lift_reason = p_reason, lifted_by_id = p_user
    WHERE id = p_hold AND lifted_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE accounts_customer SET status = 'active' WHERE id = held AND status = 'frozen'
        AND NOT EXISTS (SELECT 1 FROM accounts_hold WHERE customer_id = held AND lifted_at IS NULL);
    RETURN true;
END $$;

-- Closes an account for good use, or opens it again, frozen when a hold stands. Returns whether anything changed.
CREATE OR REPLACE FUNCTION accounts_close_customer(p_customer bigint, p_closed boolean)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM 1 FROM accounts_customer WHERE id = p_customer FOR NO KEY UPDATE;
    UPDATE accounts_customer SET status = CASE
        WHEN p_closed THEN 'closed'
        WHEN EXISTS (SELECT 1 FROM accounts_hold WHERE customer_id = p_customer AND lifted_at IS NULL) THEN 'frozen'
        ELSE 'active' END
    WHERE id = p_customer AND (status = 'closed') <> p_closed;
    RETURN FOUND;
END $$;

-- What was placed stays as it was placed, and is lifted once.
CREATE OR REPLACE FUNCTION accounts_keep_hold() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'a hold is lifted once and kept: % refused', TG_OP USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE OR REPLACE TRIGGER lifted_once BEFORE UPDATE ON accounts_hold FOR EACH ROW WHEN (
    OLD.lifted_at IS NOT NULL OR NEW.lifted_at IS NULL
    OR ROW (OLD.id, OLD.customer_id, OLD.code, OLD.reference, OLD.reason, OLD.placed_by_id, OLD.placed_at)
       IS DISTINCT FROM
       ROW (NEW.id, NEW.customer_id, NEW.code, NEW.reference, NEW.reason, NEW.placed_by_id, NEW.placed_at)
) EXECUTE FUNCTION accounts_keep_hold();
CREATE OR REPLACE TRIGGER never_deleted BEFORE DELETE ON accounts_hold
    FOR EACH ROW EXECUTE FUNCTION accounts_keep_hold();

REVOKE EXECUTE ON FUNCTION
    accounts_place_hold(bigint, text, text, text, bigint),
    accounts_lift_hold(bigint, text, bigint),
    accounts_close_customer(bigint, boolean),
    accounts_keep_hold()
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    accounts_place_hold(bigint, text, text, text, bigint),
    accounts_lift_hold(bigint, text, bigint)
TO clearinghouse_web, clearinghouse_worker;
GRANT EXECUTE ON FUNCTION accounts_close_customer(bigint, boolean) TO clearinghouse_web;
-- Only these functions change how an account stands.
REVOKE UPDATE (status) ON accounts_customer FROM clearinghouse_web;
GRANT SELECT ON accounts_hold TO clearinghouse_web, clearinghouse_worker, clearinghouse_signer;

-- An account that was frozen before there were holds is held by a row from now on.
INSERT INTO accounts_hold (customer_id, code, reference, reason)
SELECT id, 'staff', 'frozen:' || id, 'Frozen by staff before holds were kept' FROM accounts_customer
WHERE status = 'frozen' ON CONFLICT (reference) DO NOTHING;
