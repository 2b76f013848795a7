-- Paying in: what each service may write of it. The web writes wishes; only the worker says what became of the money.
CREATE OR REPLACE FUNCTION billing_check_top_up() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF current_user = 'clearinghouse_web' AND (
        NEW.status NOT IN ('started', 'open', 'expired', 'failed')
        OR (TG_OP = 'INSERT' AND (
            -- A transfer by bank waits for its money from the first; only the worker says that it came.
            (NEW.status, NEW.method) NOT IN (('started', 'checkout'), ('started', 'saved_card'), ('open', 'bank'))
            OR NEW.checkout_session_id IS NOT NULL OR NEW.payment_intent_id IS NOT NULL OR NEW.charge_id IS NOT NULL
            OR NEW.settled_at IS NOT NULL))
        OR (TG_OP = 'UPDATE' AND OLD.status IN ('processing', 'paid'))
    ) THEN
        RAISE EXCEPTION 'a top-up starts as a wish' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
REVOKE EXECUTE ON FUNCTION billing_check_top_up() FROM PUBLIC;
CREATE OR REPLACE TRIGGER wish_only BEFORE INSERT OR UPDATE ON billing_topup
    FOR EACH ROW EXECUTE FUNCTION billing_check_top_up();

GRANT SELECT, INSERT ON billing_providercustomer TO clearinghouse_web, clearinghouse_worker;
GRANT UPDATE (provider_id, attempt) ON billing_providercustomer TO clearinghouse_web, clearinghouse_worker;
GRANT UPDATE (attempt) ON billing_topup TO clearinghouse_web;
GRANT INSERT ON billing_topup TO clearinghouse_worker;

-- Rates are never changed, only followed by others; whoever can write one can make money, so the web cannot.
CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_fxrate
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE OR REPLACE TRIGGER no_truncate BEFORE TRUNCATE ON billing_fxrate EXECUTE FUNCTION billing_refuse_change();
GRANT SELECT ON billing_fxrate TO clearinghouse_web, clearinghouse_worker;
GRANT INSERT ON billing_fxrate TO clearinghouse_worker;
