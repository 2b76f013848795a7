-- Exact usage: one row per charge, keyed by customer first so that the table can be distributed by customer.
CREATE SEQUENCE billing_usage_id;
CREATE TABLE billing_usage (
    id              bigint NOT NULL DEFAULT nextval('billing_usage_id'),
    customer_id     bigint NOT NULL REFERENCES accounts_customer (id),
    api_key_id      bigint NOT NULL REFERENCES accounts_apikey (id),
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    source          uuid NOT NULL,
    label           varchar(256) NOT NULL,
    kind            varchar(20) NOT NULL,
    counterparty    varchar(42) NOT NULL,
    quantity        integer NOT NULL CHECK (quantity > 0),
    unit            varchar(20) NOT NULL,
    billed_units    numeric(40, 0) NOT NULL,
    fee_wei         numeric(78, 0) NOT NULL,
    cost_wei        numeric(78, 0) NOT NULL CHECK (cost_wei > 0),
    cost_nano_usd   bigint NOT NULL CHECK (cost_nano_usd > 0),
    charge_nano_usd bigint NOT NULL CHECK (charge_nano_usd >= cost_nano_usd),
    markup_bps      integer NOT NULL CHECK (markup_bps >= 0),
    rate_id         bigint NOT NULL REFERENCES billing_ethusdrate (id),
    journal_id      bigint REFERENCES billing_journal (id),
    PRIMARY KEY (customer_id, id)
);
CREATE INDEX usage_by_customer_time ON billing_usage (customer_id, at);
CREATE INDEX usage_by_source ON billing_usage (customer_id, source);
CREATE INDEX usage_unposted ON billing_usage (customer_id, id) WHERE journal_id IS NULL;

-- What was booked stays as it was booked; a mistake is corrected by a reversing journal.
CREATE FUNCTION billing_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the books are append-only: % of % refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_journal
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_transfer
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_walletentry
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_ledgeraccount
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_ethusdrate
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_journal EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_transfer EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_walletentry EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_usage EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_delete BEFORE DELETE ON billing_usage
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();

-- The poster may fill journal_id in once; nothing else of a usage row ever changes.
CREATE TRIGGER posted_once BEFORE UPDATE ON billing_usage
    FOR EACH ROW WHEN (
        OLD.journal_id IS NOT NULL OR NEW.journal_id IS NULL
        OR ROW (OLD.id, OLD.customer_id, OLD.api_key_id, OLD.at, OLD.source, OLD.label, OLD.kind, OLD.counterparty,
                OLD.quantity, OLD.unit, OLD.billed_units, OLD.fee_wei, OLD.cost_wei, OLD.cost_nano_usd,
                OLD.charge_nano_usd, OLD.markup_bps, OLD.rate_id)
        IS DISTINCT FROM
           ROW (NEW.id, NEW.customer_id, NEW.api_key_id, NEW.at, NEW.source, NEW.label, NEW.kind, NEW.counterparty,
                NEW.quantity, NEW.unit, NEW.billed_units, NEW.fee_wei, NEW.cost_wei, NEW.cost_nano_usd,
                NEW.charge_nano_usd, NEW.markup_bps, NEW.rate_id)
    ) EXECUTE FUNCTION billing_refuse_change();

-- Both accounts of a transfer hold the asset that moves.
CREATE FUNCTION billing_check_transfer() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wanted text := CASE WHEN NEW.amount_wei IS NULL THEN 'USD' ELSE 'ETH' END;
BEGIN
    IF (SELECT count(*) FROM billing_ledgeraccount
        WHERE id IN (NEW.debit_id, NEW.credit_id) AND asset = wanted) <> 2 THEN
        RAISE EXCEPTION 'a transfer of % needs two accounts of %', wanted, wanted
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER one_asset BEFORE INSERT ON billing_transfer
    FOR EACH ROW EXECUTE FUNCTION billing_check_transfer();

-- The balance of every account, debits minus credits, in its own asset's smallest unit.
CREATE VIEW billing_account_balance AS
SELECT a.id, a.number, a.asset, a.party,
       coalesce(d.amount, 0) - coalesce(c.amount, 0) AS balance
FROM billing_ledgeraccount a
LEFT JOIN (SELECT debit_id, sum(coalesce(amount_nano_usd, amount_wei)) AS amount
           FROM billing_transfer GROUP BY debit_id) d ON d.debit_id = a.id
LEFT JOIN (SELECT credit_id, sum(coalesce(amount_nano_usd, amount_wei)) AS amount
           FROM billing_transfer GROUP BY credit_id) c ON c.credit_id = a.id;
