-- How much of a charge came from promotional credit and how much from money that is not aged yet; grants are written
-- by the ledger's functions alone. Whatever was charged before had neither.
DROP FUNCTION IF EXISTS billing_credit(bigint, bigint, text, text, timestamptz, text, jsonb);
DROP FUNCTION IF EXISTS billing_debit(
    bigint, bigint, uuid, text, text, text, int, text, numeric, numeric, numeric, bigint, int);
DROP FUNCTION IF EXISTS billing_debit_all(
    bigint[], bigint[], uuid[], text[], text[], text[], int[], text, numeric[], numeric[], numeric[], bigint[], int[]);

ALTER TABLE billing_usage
    ADD COLUMN promo_nano_usd bigint NOT NULL DEFAULT 0,
    ADD COLUMN fresh_nano_usd bigint NOT NULL DEFAULT 0;
ALTER TABLE billing_usage ADD CONSTRAINT usage_parts_within_the_charge CHECK (
    promo_nano_usd >= 0 AND fresh_nano_usd >= 0 AND promo_nano_usd + fresh_nano_usd <= charge_nano_usd) NOT VALID;

DROP TRIGGER posted_once ON billing_usage;
CREATE TRIGGER posted_once BEFORE UPDATE ON billing_usage
    FOR EACH ROW WHEN (
        OLD.journal_id IS NOT NULL OR NEW.journal_id IS NULL
        OR ROW (OLD.id, OLD.customer_id, OLD.api_key_id, OLD.at, OLD.source, OLD.label, OLD.kind, OLD.counterparty,
                OLD.quantity, OLD.unit, OLD.billed_units, OLD.fee_wei, OLD.cost_wei, OLD.cost_nano_usd,
                OLD.charge_nano_usd, OLD.markup_bps, OLD.rate_id, OLD.promo_nano_usd, OLD.fresh_nano_usd)
        IS DISTINCT FROM
           ROW (NEW.id, NEW.customer_id, NEW.api_key_id, NEW.at, NEW.source, NEW.label, NEW.kind, NEW.counterparty,
                NEW.quantity, NEW.unit, NEW.billed_units, NEW.fee_wei, NEW.cost_wei, NEW.cost_nano_usd,
                NEW.charge_nano_usd, NEW.markup_bps, NEW.rate_id, NEW.promo_nano_usd, NEW.fresh_nano_usd)
    ) EXECUTE FUNCTION billing_refuse_change();

-- The totals of a day know the promotional part as well.
ALTER TABLE billing_usageday ADD COLUMN promo_nano_usd bigint NOT NULL DEFAULT 0;
CREATE OR REPLACE FUNCTION billing_add_day_totals() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO billing_usageday AS total (
        customer_id, day, api_key_id, label, kind, counterparty, payments, quantity, fee_wei, cost_wei,
        cost_nano_usd, charge_nano_usd, promo_nano_usd)
    SELECT customer_id, (at AT TIME ZONE 'UTC')::date, api_key_id, label, kind, counterparty, count(*),
           sum(quantity), sum(fee_wei), sum(cost_wei), sum(cost_nano_usd), sum(charge_nano_usd), sum(promo_nano_usd)
    FROM posted GROUP BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (customer_id, day, api_key_id, label, kind, counterparty) DO UPDATE SET
        payments = total.payments + excluded.payments,
        quantity = total.quantity + excluded.quantity,
        fee_wei = total.fee_wei + excluded.fee_wei,
        cost_wei = total.cost_wei + excluded.cost_wei,
        cost_nano_usd = total.cost_nano_usd + excluded.cost_nano_usd,
        charge_nano_usd = total.charge_nano_usd + excluded.charge_nano_usd,
        promo_nano_usd = total.promo_nano_usd + excluded.promo_nano_usd;
    RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION billing_add_day_totals() FROM PUBLIC;

CREATE OR REPLACE VIEW billing_usage_by_day AS
SELECT customer_id, day, api_key_id, label, kind, counterparty, payments, quantity, fee_wei, cost_wei, cost_nano_usd,
       charge_nano_usd, promo_nano_usd
FROM billing_usageday
UNION ALL
SELECT customer_id, (at AT TIME ZONE 'UTC')::date, api_key_id, label, kind, counterparty, count(*), sum(quantity),
       sum(fee_wei), sum(cost_wei), sum(cost_nano_usd)::bigint, sum(charge_nano_usd)::bigint,
       sum(promo_nano_usd)::bigint
FROM billing_usage WHERE journal_id IS NULL GROUP BY 1, 2, 3, 4, 5, 6;

-- A grant is only ever used up, and ages once.
CREATE FUNCTION billing_keep_grant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a grant is only used up: % refused', TG_OP USING ERRCODE = 'integrity_constraint_violation';
END $$;
REVOKE EXECUTE ON FUNCTION billing_keep_grant() FROM PUBLIC;
CREATE TRIGGER only_used_up BEFORE UPDATE ON billing_grant FOR EACH ROW WHEN (
    NEW.remaining_nano_usd > OLD.remaining_nano_usd OR NEW.is_fresh > OLD.is_fresh
    OR ROW (OLD.id, OLD.customer_id, OLD.kind, OLD.amount_nano_usd, OLD.priority, OLD.campaign, OLD.reference,
            OLD.aged_at, OLD.expires_at, OLD.created_at)
    IS DISTINCT FROM
       ROW (NEW.id, NEW.customer_id, NEW.kind, NEW.amount_nano_usd, NEW.priority, NEW.campaign, NEW.reference,
            NEW.aged_at, NEW.expires_at, NEW.created_at)
) EXECUTE FUNCTION billing_keep_grant();
CREATE TRIGGER no_delete BEFORE DELETE ON billing_grant FOR EACH ROW EXECUTE FUNCTION billing_keep_grant();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_grant EXECUTE FUNCTION billing_keep_grant();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_grantuse
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON billing_grantuse EXECUTE FUNCTION billing_refuse_change();
GRANT SELECT ON billing_grant, billing_grantuse TO clearinghouse_web, clearinghouse_worker;

-- What wallets held until now is paid and aged. The oldest money is spent first, so the newest entries are what is
-- left, together with what was charged and waits for the poster.
INSERT INTO billing_grant (
    customer_id, kind, amount_nano_usd, remaining_nano_usd, priority, campaign, reference, aged_at, is_fresh, created_at)
SELECT customer_id, 'paid', part, part, 100, '', reference, created_at, false, created_at
FROM (
    SELECT e.customer_id, e.reference, e.created_at, least(
        e.amount_nano_usd,
        w.available_nano_usd + coalesce(u.waiting, 0) - coalesce(sum(e.amount_nano_usd) OVER newer, 0)
    ) AS part
    FROM billing_walletentry e
    JOIN billing_wallet w ON w.customer_id = e.customer_id
    LEFT JOIN (SELECT customer_id, sum(charge_nano_usd) AS waiting FROM billing_usage
               WHERE journal_id IS NULL GROUP BY customer_id) u ON u.customer_id = e.customer_id
    WHERE e.amount_nano_usd > 0
    WINDOW newer AS (PARTITION BY e.customer_id ORDER BY e.id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
) x WHERE part > 0 ORDER BY created_at;
