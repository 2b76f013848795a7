-- Markups are written by staff through the web, once each; signers read them.
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_markup
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_markup EXECUTE FUNCTION billing_refuse_change();
GRANT SELECT, INSERT ON billing_markup TO clearinghouse_web;
GRANT SELECT ON billing_markup TO clearinghouse_signer, clearinghouse_worker;
