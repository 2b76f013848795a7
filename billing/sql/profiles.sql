-- The owner writes the profile through the web; only the worker says whether a tax id is valid.
CREATE FUNCTION billing_check_profile() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' OR ROW (OLD.tax_id, OLD.tax_id_kind) IS DISTINCT FROM ROW (NEW.tax_id, NEW.tax_id_kind) THEN
        NEW.tax_id_state := CASE WHEN NEW.tax_id = '' OR NEW.tax_id_kind = 'other' THEN 'none' ELSE 'pending' END;
        NEW.tax_id_checked_at := NULL;
        NEW.tax_id_source := '';
        NEW.consultation_number := '';
        NEW.check_attempts := 0;
        NEW.check_not_before := clock_timestamp();
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER new_ids_are_pending BEFORE INSERT OR UPDATE ON billing_billingprofile
    FOR EACH ROW EXECUTE FUNCTION billing_check_profile();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_taxidcheck
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_taxidcheck EXECUTE FUNCTION billing_refuse_change();

GRANT SELECT ON billing_billingprofile, billing_taxidcheck TO clearinghouse_web, clearinghouse_worker;
GRANT INSERT ON billing_billingprofile TO clearinghouse_web;
GRANT UPDATE (legal_name, line1, line2, postal_code, city, region, country, invoice_email, po_number, tax_id_kind,
    tax_id, told_provider, updated_at, updated_by_id) ON billing_billingprofile TO clearinghouse_web;
GRANT UPDATE (tax_id_state, tax_id_checked_at, tax_id_source, consultation_number, check_attempts, check_not_before,
    told_provider) ON billing_billingprofile TO clearinghouse_worker;
GRANT INSERT ON billing_taxidcheck TO clearinghouse_worker;
