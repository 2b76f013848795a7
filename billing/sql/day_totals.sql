-- Usage of a customer per UTC day, key, label, kind and counterparty: what pages and statements add up instead of
-- millions of payments. A row of usage counts here from the moment it is posted; the view adds those that still wait.
CREATE TABLE billing_usageday (
    customer_id     bigint NOT NULL REFERENCES accounts_customer (id),
    day             date NOT NULL,
    api_key_id      bigint NOT NULL REFERENCES accounts_apikey (id),
    label           varchar(256) NOT NULL,
    kind            varchar(20) NOT NULL,
    counterparty    varchar(42) NOT NULL,
    payments        bigint NOT NULL,
    quantity        bigint NOT NULL,
    fee_wei         numeric NOT NULL,
    cost_wei        numeric NOT NULL,
    cost_nano_usd   bigint NOT NULL,
    charge_nano_usd bigint NOT NULL,
    PRIMARY KEY (customer_id, day, api_key_id, label, kind, counterparty)
);

INSERT INTO billing_usageday
SELECT customer_id, (at AT TIME ZONE 'UTC')::date, api_key_id, label, kind, counterparty, count(*), sum(quantity),
       sum(fee_wei), sum(cost_wei), sum(cost_nano_usd), sum(charge_nano_usd)
FROM billing_usage WHERE journal_id IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6;

-- The only change a usage row can see is that it is posted, once: so each of them is added here exactly once.
CREATE FUNCTION billing_add_day_totals() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO billing_usageday AS total
    SELECT customer_id, (at AT TIME ZONE 'UTC')::date, api_key_id, label, kind, counterparty, count(*),
           sum(quantity), sum(fee_wei), sum(cost_wei), sum(cost_nano_usd), sum(charge_nano_usd)
    FROM posted GROUP BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (customer_id, day, api_key_id, label, kind, counterparty) DO UPDATE SET
        payments = total.payments + excluded.payments,
        quantity = total.quantity + excluded.quantity,
        fee_wei = total.fee_wei + excluded.fee_wei,
        cost_wei = total.cost_wei + excluded.cost_wei,
        cost_nano_usd = total.cost_nano_usd + excluded.cost_nano_usd,
        charge_nano_usd = total.charge_nano_usd + excluded.charge_nano_usd;
    RETURN NULL;
END $$;
-- Whoever may execute a trigger function may hang it on a table of his own.
REVOKE EXECUTE ON FUNCTION billing_add_day_totals() FROM PUBLIC;
CREATE TRIGGER day_totals AFTER UPDATE ON billing_usage
    REFERENCING NEW TABLE AS posted FOR EACH STATEMENT EXECUTE FUNCTION billing_add_day_totals();

CREATE VIEW billing_usage_by_day AS
SELECT customer_id, day, api_key_id, label, kind, counterparty, payments, quantity, fee_wei, cost_wei, cost_nano_usd,
       charge_nano_usd
FROM billing_usageday
UNION ALL
SELECT customer_id, (at AT TIME ZONE 'UTC')::date, api_key_id, label, kind, counterparty, count(*), sum(quantity),
       sum(fee_wei), sum(cost_wei), sum(cost_nano_usd)::bigint, sum(charge_nano_usd)::bigint
FROM billing_usage WHERE journal_id IS NULL GROUP BY 1, 2, 3, 4, 5, 6;

GRANT SELECT ON billing_usageday, billing_usage_by_day TO clearinghouse_web, clearinghouse_worker;
