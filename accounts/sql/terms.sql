-- Who accepted the terms stays as it was written; the web writes it, at sign-up and when the version changes.
GRANT SELECT, INSERT ON accounts_termsacceptance TO clearinghouse_web;
GRANT SELECT ON accounts_termsacceptance TO clearinghouse_worker;
GRANT USAGE ON SEQUENCE accounts_termsacceptance_id_seq TO clearinghouse_web;
CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE ON accounts_termsacceptance
    FOR EACH ROW EXECUTE FUNCTION accounts_refuse_change();
