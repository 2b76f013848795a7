-- Cards at the provider: the web wishes, removes and chooses; only the worker, who asked the provider, says what is there.
GRANT SELECT ON billing_savedcard, billing_cardsetup, billing_autorecharge TO clearinghouse_web, clearinghouse_worker;
GRANT INSERT ON billing_cardsetup, billing_autorecharge TO clearinghouse_web;
GRANT UPDATE (status, checkout_session_id, checkout_url, failure, attempt) ON billing_cardsetup TO clearinghouse_web;
GRANT UPDATE (is_default, removed_at, removed_by_id) ON billing_savedcard TO clearinghouse_web;
GRANT UPDATE (is_on, threshold_cents, mode, amount_cents, cap_cents, card_id, failures, not_before, off_reason,
              changed_by_id, changed_at) ON billing_autorecharge TO clearinghouse_web;
GRANT INSERT, UPDATE ON billing_savedcard TO clearinghouse_worker;
GRANT UPDATE ON billing_cardsetup, billing_autorecharge TO clearinghouse_worker;

GRANT UPDATE (failure_code) ON billing_topup TO clearinghouse_web;

-- A wish to keep a card starts empty, and the web never says by itself that one was kept.
CREATE OR REPLACE FUNCTION billing_check_card_setup() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF current_user = 'clearinghouse_web' AND (
        NEW.status = 'done' OR NEW.card_id IS NOT NULL
        OR (TG_OP = 'INSERT' AND (NEW.status <> 'started' OR NEW.checkout_session_id IS NOT NULL))
    ) THEN
        RAISE EXCEPTION 'keeping a card starts as a wish' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
REVOKE EXECUTE ON FUNCTION billing_check_card_setup() FROM PUBLIC;
CREATE OR REPLACE TRIGGER wish_only BEFORE INSERT OR UPDATE ON billing_cardsetup
    FOR EACH ROW EXECUTE FUNCTION billing_check_card_setup();

-- Whose card: a top-up, a wish and a recharge name cards of their own customer alone.
CREATE OR REPLACE FUNCTION billing_check_card_owner() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    card uuid := CASE TG_TABLE_NAME WHEN 'billing_topup' THEN to_jsonb(NEW) ->> 'saved_card_id'
                 ELSE to_jsonb(NEW) ->> 'card_id' END;
BEGIN
    IF card IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM billing_savedcard WHERE id = card AND customer_id = NEW.customer_id
    ) THEN
        RAISE EXCEPTION 'a card of somebody else' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
REVOKE EXECUTE ON FUNCTION billing_check_card_owner() FROM PUBLIC;
CREATE OR REPLACE TRIGGER own_card BEFORE INSERT OR UPDATE OF saved_card_id, customer_id ON billing_topup
    FOR EACH ROW EXECUTE FUNCTION billing_check_card_owner();
CREATE OR REPLACE TRIGGER own_card BEFORE INSERT OR UPDATE OF card_id, customer_id ON billing_cardsetup
    FOR EACH ROW EXECUTE FUNCTION billing_check_card_owner();
CREATE OR REPLACE TRIGGER own_card BEFORE INSERT OR UPDATE OF card_id, customer_id ON billing_autorecharge
    FOR EACH ROW EXECUTE FUNCTION billing_check_card_owner();
