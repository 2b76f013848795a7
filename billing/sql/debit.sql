-- What a charge takes from a wallet. Promotional credit goes first, where the recipient may be paid with it, then aged
-- money, then fresh money; a usage row keeps how much came from which. Called by the signer's own function only.

-- Takes the price of p_cost_wei from a wallet and writes the usage row. Refusals change nothing and are told by name:
-- key_revoked, account_frozen, insufficient_credit, promotional_credit_only, key_limit_reached (of the key or its
-- account; `detail` says which).
CREATE OR REPLACE FUNCTION billing_debit(
    p_customer bigint, p_api_key bigint, p_source uuid, p_label text, p_kind text, p_counterparty text,
    p_quantity int, p_unit text, p_billed_units numeric, p_fee_wei numeric, p_cost_wei numeric,
    p_rate bigint, p_markup_bps int, p_promo_ok boolean DEFAULT true,
    OUT usage_id bigint, OUT refusal text, OUT charged_nano_usd bigint, OUT detail text
) LANGUAGE plpgsql AS $$
DECLARE
    account_status text;
    revoked timestamptz;
    rate_nano_usd bigint;
    charge bigint;
    held record;
    promo bigint;
    fresh bigint;
    moment timestamptz;
    reached record;
BEGIN
    SELECT c.status, k.revoked_at INTO account_status, revoked
    FROM accounts_apikey k JOIN accounts_customer c ON c.id = k.customer_id
    WHERE k.id = p_api_key AND c.id = p_customer;
    IF account_status IS NULL OR revoked IS NOT NULL THEN
        refusal := 'key_revoked';
        RETURN;
    ELSIF account_status <> 'active' THEN
        refusal := 'account_frozen';
        RETURN;
    END IF;
    SELECT nano_usd_per_eth INTO STRICT rate_nano_usd FROM billing_ethusdrate WHERE id = p_rate;
    charge := billing_price_nano_usd(p_cost_wei, rate_nano_usd, p_markup_bps);

    SELECT available_nano_usd AS available, promo_nano_usd AS promo, fresh_nano_usd AS fresh, debt_nano_usd AS debt,
           has_budgets
    INTO held FROM billing_wallet WHERE customer_id = p_customer FOR NO KEY UPDATE;
    moment := clock_timestamp();
    promo := CASE WHEN p_promo_ok THEN least(held.promo, charge) ELSE 0 END;
    IF held.debt > 0 THEN
        refusal := 'account_frozen';
        RETURN;
    ELSIF held IS NULL OR held.available < charge THEN
        refusal := 'insufficient_credit';
        RETURN;
    ELSIF held.available - held.promo < charge - promo THEN
        refusal := 'promotional_credit_only';
        RETURN;
    END IF;
    IF held.has_budgets THEN
        SELECT b.api_key_id, b.period, b.limit_nano_usd INTO reached FROM billing_budget b
        WHERE b.customer_id = p_customer AND b.lifted_at IS NULL AND coalesce(b.api_key_id, p_api_key) = p_api_key
          AND charge > b.limit_nano_usd
              - CASE WHEN b.period_start >= billing_period_start(b.period, moment) THEN b.spent_nano_usd ELSE 0 END
        ORDER BY b.api_key_id, b.period = 'day', b.period = 'month' LIMIT 1;
        IF FOUND THEN
            refusal := 'key_limit_reached';
            detail := billing_budget_words(reached.api_key_id, reached.period, reached.limit_nano_usd, moment);
            RETURN;
        END IF;
        UPDATE billing_budget b SET
            spent_nano_usd = charge + CASE
                WHEN b.period_start >= billing_period_start(b.period, moment) THEN b.spent_nano_usd ELSE 0 END,
            period_start = greatest(b.period_start, billing_period_start(b.period, moment))
        WHERE b.customer_id = p_customer AND b.lifted_at IS NULL AND coalesce(b.api_key_id, p_api_key) = p_api_key;
    END IF;

    fresh := greatest(0, charge - promo - (held.available - held.promo - held.fresh));
    UPDATE billing_wallet SET
        available_nano_usd = available_nano_usd - charge, promo_nano_usd = promo_nano_usd - promo,
        fresh_nano_usd = fresh_nano_usd - fresh, updated_at = moment
    WHERE customer_id = p_customer;
    INSERT INTO billing_usage (
        customer_id, api_key_id, at, source, label, kind, counterparty, quantity, unit, billed_units,
        fee_wei, cost_wei, cost_nano_usd, charge_nano_usd, markup_bps, rate_id, promo_nano_usd, fresh_nano_usd
    ) VALUES (
        p_customer, p_api_key, moment, p_source, p_label, p_kind, p_counterparty, p_quantity, p_unit, p_billed_units,
        p_fee_wei, p_cost_wei, billing_price_nano_usd(p_cost_wei, rate_nano_usd, 0), charge,
        p_markup_bps, p_rate, promo, fresh
    ) RETURNING id INTO usage_id;
    charged_nano_usd := charge;
END $$;

-- billing_debit for many at once, by a caller that holds the locks of their wallets: those of one customer are all
-- debited or none of them. Returns a usage id for each, in order; NULL stands for each that was not debited, and
-- billing_debit tells why.
CREATE OR REPLACE FUNCTION billing_debit_all(
    p_customers bigint[], p_api_keys bigint[], p_sources uuid[], p_labels text[], p_kinds text[],
    p_counterparties text[], p_quantities int[], p_unit text, p_billed_units numeric[], p_fee_wei numeric[],
    p_cost_wei numeric[], p_rates bigint[], p_markup_bps int[], p_promo_ok boolean[] DEFAULT NULL
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    usage_ids bigint[];
    moment timestamptz := clock_timestamp();
BEGIN
WITH priced AS MATERIALIZED (
    -- Each charge beside its customer's wallet. A sequence tells ids in the order of the charges.
    SELECT customer, api_key, place, nextval('billing_usage_id') AS new_id, coalesce(p_promo_ok[place], true) AS promo_ok,
           billing_price_nano_usd(cost_wei, r.nano_usd_per_eth, 0) AS cost_nano_usd,
           billing_price_nano_usd(cost_wei, r.nano_usd_per_eth, markup_bps) AS charge,
           k.customer_id = customer AND k.revoked_at IS NULL AND c.status = 'active' AND w.debt_nano_usd = 0 AS may_pay,
           w.promo_nano_usd AS promo, w.available_nano_usd - w.promo_nano_usd AS paid,
           w.available_nano_usd - w.promo_nano_usd - w.fresh_nano_usd AS aged, w.has_budgets
    FROM unnest(p_customers, p_api_keys, p_cost_wei, p_rates, p_markup_bps) WITH ORDINALITY AS debit (
        customer, api_key, cost_wei, rate, markup_bps, place)
    LEFT JOIN LATERAL (SELECT nano_usd_per_eth FROM billing_ethusdrate WHERE id = rate LIMIT 1) r ON true
    LEFT JOIN LATERAL (SELECT customer_id, revoked_at FROM accounts_apikey WHERE id = api_key LIMIT 1) k ON true
    LEFT JOIN LATERAL (SELECT status FROM accounts_customer WHERE id = customer LIMIT 1) c ON true
    LEFT JOIN LATERAL (SELECT * FROM billing_wallet WHERE customer_id = customer LIMIT 1) w ON true
), summed AS (
    -- What the customer's charges come to, all of them and up to each one in order; for promotional credit, those
    -- that it may pay.
    SELECT *, sum(charge) OVER in_order AS used, sum(charge) FILTER (WHERE promo_ok) OVER in_order AS used_for_promo,
           sum(charge) OVER of_all AS total, sum(charge) FILTER (WHERE promo_ok) OVER of_all AS total_for_promo,
           place = max(place) OVER of_all AS is_last, bool_and(coalesce(may_pay AND charge > 0, false)) OVER of_all AS all_may
    FROM priced
    WINDOW of_all AS (PARTITION BY customer ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING),
           in_order AS (PARTITION BY customer ORDER BY place ROWS UNBOUNDED PRECEDING)
), split AS MATERIALIZED (
    SELECT *, least(promo, coalesce(total_for_promo, 0)) AS from_promo, least(promo, coalesce(used_for_promo, 0)) AS promo_after,
           least(promo, coalesce(used_for_promo, 0) - CASE WHEN promo_ok THEN charge ELSE 0 END) AS promo_before,
           coalesce(all_may AND total - least(promo, coalesce(total_for_promo, 0)) <= paid, false) AS fits
    FROM summed
), budgets AS MATERIALIZED (
    -- What each budget that stands would have counted with all of its customer's charges.
    SELECT b.id, b.customer_id, b.limit_nano_usd AS most, billing_period_start(b.period, moment) AS start,
           sum(split.charge) + CASE
               WHEN b.period_start >= billing_period_start(b.period, moment) THEN b.spent_nano_usd ELSE 0 END AS spent
    FROM split JOIN billing_budget b ON b.customer_id = split.customer AND b.lifted_at IS NULL
        AND coalesce(b.api_key_id, split.api_key) = split.api_key
    WHERE split.fits AND split.has_budgets GROUP BY b.id
), judged AS MATERIALIZED (
    SELECT *, fits AND NOT (has_budgets AND EXISTS (
        SELECT 1 FROM budgets WHERE budgets.customer_id = customer AND spent > most)) AS pays
    FROM split
), taken AS (
    UPDATE billing_wallet w SET
        available_nano_usd = available_nano_usd - total,
        promo_nano_usd = promo_nano_usd - from_promo,
        fresh_nano_usd = least(fresh_nano_usd, paid - (total - from_promo)),
        updated_at = moment
    FROM judged WHERE pays AND is_last AND w.customer_id = judged.customer
), counted AS (
    UPDATE billing_budget b SET spent_nano_usd = spent, period_start = greatest(b.period_start, start)
    FROM budgets WHERE b.id = budgets.id AND EXISTS (
        SELECT 1 FROM judged WHERE pays AND judged.customer = budgets.customer_id)
), written AS (
    INSERT INTO billing_usage (
        id, customer_id, api_key_id, at, source, label, kind, counterparty, quantity, unit, billed_units,
        fee_wei, cost_wei, cost_nano_usd, charge_nano_usd, markup_bps, rate_id, promo_nano_usd, fresh_nano_usd
    )
    SELECT new_id, customer, api_key, moment, p_sources[place], p_labels[place], p_kinds[place], p_counterparties[place],
           p_quantities[place], p_unit, p_billed_units[place], p_fee_wei[place], p_cost_wei[place], cost_nano_usd, charge,
           p_markup_bps[place], p_rates[place], promo_after - promo_before,
           greatest(0, used - promo_after - aged) - greatest(0, used - charge - promo_before - aged)
    FROM judged WHERE pays
)
SELECT array_agg(CASE WHEN pays THEN new_id END ORDER BY place) INTO usage_ids FROM judged;
RETURN usage_ids;
END $$;

REVOKE EXECUTE ON FUNCTION
    billing_debit(bigint, bigint, uuid, text, text, text, int, text, numeric, numeric, numeric, bigint, int, boolean),
    billing_debit_all(
        bigint[], bigint[], uuid[], text[], text[], text[], int[], text, numeric[], numeric[], numeric[], bigint[],
        int[], boolean[])
FROM PUBLIC;
