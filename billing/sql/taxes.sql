-- What tax a top-up carries is said once, before anybody pays; rules are followed by others, never changed.
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_topuptax
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_taxregistration
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_taxmode
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_topuptax EXECUTE FUNCTION billing_refuse_change();

CREATE FUNCTION billing_check_top_up_tax() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    -- A bank pays what it pays: the wish of a transfer takes the amount that came, when it is credited.
    IF current_user IN ('clearinghouse_web', 'clearinghouse_worker') AND OLD.status <> 'started' AND NOT (OLD.method = 'bank' AND OLD.status <> 'paid' AND NEW.status = 'paid')
        AND ROW (OLD.net_cents, OLD.tax_cents, OLD.total_cents, OLD.tax_parts)
            IS DISTINCT FROM ROW (NEW.net_cents, NEW.tax_cents, NEW.total_cents, NEW.tax_parts) THEN
        RAISE EXCEPTION 'permission denied: the tax of a top-up is known before its payment'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER tax_before_payment BEFORE UPDATE ON billing_topup
    FOR EACH ROW EXECUTE FUNCTION billing_check_top_up_tax();

GRANT SELECT ON billing_topuptax, billing_taxregistration, billing_taxmode TO clearinghouse_web, clearinghouse_worker;
GRANT INSERT ON billing_topuptax TO clearinghouse_web, clearinghouse_worker;
REVOKE EXECUTE ON FUNCTION billing_check_top_up_tax() FROM PUBLIC;
GRANT INSERT ON billing_taxregistration, billing_taxmode TO clearinghouse_web;
GRANT UPDATE (tax_cents, total_cents, tax_parts) ON billing_topup TO clearinghouse_web, clearinghouse_worker;
