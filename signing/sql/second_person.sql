-- What needs a second person is not the web's to write: the worker writes it once it was approved.
REVOKE INSERT ON billing_markup FROM clearinghouse_web;
GRANT INSERT ON billing_markup, signing_priceceiling TO clearinghouse_worker;
GRANT USAGE ON SEQUENCE billing_markup_id_seq, signing_priceceiling_id_seq TO clearinghouse_worker;

-- The web adds a ceiling only where it lets nobody pay more; customers may do with their own keys what they like, which
-- are ceilings that one of the customer's own people made.
CREATE OR REPLACE FUNCTION signing_check_ceiling() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    before signing_priceceiling;
BEGIN
    IF current_user <> 'clearinghouse_web' OR NEW.scope = 'api_key' AND EXISTS (
        SELECT 1 FROM accounts_apikey k JOIN accounts_membership m ON m.customer_id = k.customer_id
        WHERE k.id = NEW.api_key_id AND m.user_id = NEW.made_by_id
    ) THEN
        RETURN NEW;
    END IF;
    SELECT * INTO before FROM signing_priceceiling
    WHERE scope = NEW.scope AND unit = NEW.unit AND model = NEW.model
      AND capability IS NOT DISTINCT FROM NEW.capability AND customer_id IS NOT DISTINCT FROM NEW.customer_id
      AND api_key_id IS NOT DISTINCT FROM NEW.api_key_id
      AND valid_from <= statement_timestamp()
    ORDER BY valid_from DESC, id DESC LIMIT 1;
    IF NEW.valid_from > statement_timestamp() OR (NEW.limit_wei IS NULL AND NEW.limit_nano_usd IS NULL) THEN
        RAISE EXCEPTION 'a second person approves this ceiling' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF (before.limit_wei IS NULL AND before.limit_nano_usd IS NULL
        AND NEW.scope IN ('customer', 'api_key'))
       OR NEW.limit_wei * before.per_units <= before.limit_wei * NEW.per_units
       OR NEW.limit_nano_usd::numeric * before.per_units <= before.limit_nano_usd::numeric * NEW.per_units THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a second person approves this ceiling' USING ERRCODE = 'insufficient_privilege';
END $$;
REVOKE EXECUTE ON FUNCTION signing_check_ceiling() FROM PUBLIC;
CREATE OR REPLACE TRIGGER lower_alone BEFORE INSERT ON signing_priceceiling
    FOR EACH ROW EXECUTE FUNCTION signing_check_ceiling();

-- Roles: the web takes them away, the worker gives them; nobody but the owner touches what else grants rights.
REVOKE INSERT, UPDATE ON accounts_user_groups, accounts_user_user_permissions FROM clearinghouse_web;
REVOKE INSERT, UPDATE, DELETE ON auth_group, auth_group_permissions FROM clearinghouse_web;
GRANT INSERT ON accounts_user_groups TO clearinghouse_worker;
GRANT USAGE ON SEQUENCE accounts_user_groups_id_seq TO clearinghouse_worker;
GRANT UPDATE (is_staff) ON accounts_user TO clearinghouse_worker;

CREATE OR REPLACE FUNCTION accounts_check_rise() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF current_user = 'clearinghouse_web' AND (
        TG_OP = 'INSERT' AND (NEW.is_staff OR NEW.is_superuser)
        OR TG_OP = 'UPDATE' AND (NEW.is_staff AND NOT OLD.is_staff OR NEW.is_superuser AND NOT OLD.is_superuser)
    ) THEN
        RAISE EXCEPTION 'the web makes nobody staff' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
REVOKE EXECUTE ON FUNCTION accounts_check_rise() FROM PUBLIC;
CREATE OR REPLACE TRIGGER nobody_rises BEFORE INSERT OR UPDATE ON accounts_user
    FOR EACH ROW EXECUTE FUNCTION accounts_check_rise();
