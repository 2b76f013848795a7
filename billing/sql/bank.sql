-- Lines of our bank: the web enters them and says what they are, the worker books them. Nobody changes what they say.
GRANT SELECT ON billing_bankline, billing_banktransfer TO clearinghouse_web, clearinghouse_worker;
GRANT INSERT ON billing_bankline, billing_banktransfer TO clearinghouse_web;
GRANT UPDATE (payout_id, ignored_because, matched_by_id, matched_at) ON billing_bankline TO clearinghouse_web;
GRANT UPDATE (payout_id, top_up_id, matched_by_id, matched_at, journal_id) ON billing_bankline TO clearinghouse_worker;
GRANT INSERT ON billing_topup TO clearinghouse_worker;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO clearinghouse_web, clearinghouse_worker;

CREATE FUNCTION billing_check_bank_line() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF OLD.journal_id IS NOT NULL THEN
        RAISE EXCEPTION 'a booked line of the bank stays as it is' USING ERRCODE = 'integrity_constraint_violation';
    ELSIF ROW (NEW.booked_on, NEW.amount_cents, NEW.currency, NEW.reference, NEW.counterparty, NEW.fingerprint)
        IS DISTINCT FROM
          ROW (OLD.booked_on, OLD.amount_cents, OLD.currency, OLD.reference, OLD.counterparty, OLD.fingerprint) THEN
        RAISE EXCEPTION 'a line of the bank says what it says' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
REVOKE EXECUTE ON FUNCTION billing_check_bank_line() FROM PUBLIC;
CREATE TRIGGER says_what_it_says BEFORE UPDATE ON billing_bankline
    FOR EACH ROW EXECUTE FUNCTION billing_check_bank_line();
CREATE TRIGGER no_delete BEFORE DELETE ON billing_bankline
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_banktransfer
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
