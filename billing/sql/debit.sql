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
    SELECT debit.*, nextval('billing_usage_id') AS new_id, k.may_pay, coalesce(p_promo_ok[place], true) AS promo_ok,
           billing_price_nano_usd(cost_wei, r.nano_usd_per_eth, 0) AS cost_nano_usd,
           billing_price_nano_usd(cost_wei, r.nano_usd_per_eth, markup_bps) AS charge_nano_usd
    FROM unnest(p_customers, p_api_keys, p_sources, p_labels, p_kinds, p_counterparties, p_quantities,
                p_billed_units, p_fee_wei, p_cost_wei, p_rates, p_markup_bps) WITH ORDINALITY AS debit (
        customer, api_key, source, label, kind, counterparty, quantity,
        billed_units, fee_wei, cost_wei, rate, markup_bps, place)
    LEFT JOIN LATERAL (SELECT nano_usd_per_eth FROM billing_ethusdrate WHERE id = rate LIMIT 1) r ON true
    LEFT JOIN LATERAL (
        SELECT c.status = 'active' AND k.revoked_at IS NULL AS may_pay
        FROM accounts_apikey k JOIN accounts_customer c ON c.id = k.customer_id
        WHERE k.id = api_key AND c.id = customer LIMIT 1
    ) k ON true
), totals AS (
    SELECT customer, sum(charge_nano_usd) AS total,
           coalesce(sum(charge_nano_usd) FILTER (WHERE promo_ok), 0) AS for_promo FROM priced
    GROUP BY customer HAVING bool_and(coalesce(may_pay AND charge_nano_usd > 0, false))
), held AS MATERIALIZED (
    SELECT customer, total, least(w.promo_nano_usd, for_promo) AS from_promo, w.promo_nano_usd AS promo,
           w.available_nano_usd - w.promo_nano_usd AS paid,
           w.available_nano_usd - w.promo_nano_usd - w.fresh_nano_usd AS aged, w.has_budgets
    FROM totals JOIN LATERAL (SELECT * FROM billing_wallet WHERE customer_id = customer LIMIT 1) w ON true
    WHERE w.debt_nano_usd = 0 AND total - least(w.promo_nano_usd, for_promo) <= w.available_nano_usd - w.promo_nano_usd
), budgets AS MATERIALIZED (
    -- What each budget that stands would have counted with all of its customer's charges.
    SELECT b.id, b.customer_id, b.limit_nano_usd AS most, billing_period_start(b.period, moment) AS start,
           sum(priced.charge_nano_usd) + CASE
               WHEN b.period_start >= billing_period_start(b.period, moment) THEN b.spent_nano_usd ELSE 0 END AS spent
    FROM held JOIN billing_budget b ON b.customer_id = held.customer AND b.lifted_at IS NULL
    JOIN priced ON priced.customer = held.customer AND coalesce(b.api_key_id, priced.api_key) = priced.api_key
    WHERE held.has_budgets GROUP BY b.id
), paid AS (
    UPDATE billing_wallet w SET
        available_nano_usd = available_nano_usd - total,
        promo_nano_usd = promo_nano_usd - from_promo,
        fresh_nano_usd = least(fresh_nano_usd, held.paid - (total - from_promo)),
        updated_at = moment
    FROM held WHERE w.customer_id = held.customer
      AND NOT EXISTS (SELECT 1 FROM budgets WHERE budgets.customer_id = held.customer AND spent > most)
    RETURNING w.customer_id
), counted AS (
    UPDATE billing_budget b SET spent_nano_usd = spent, period_start = greatest(b.period_start, start)
    FROM budgets JOIN paid ON paid.customer_id = budgets.customer_id WHERE b.id = budgets.id
), split AS (
    -- How far the customer's promotional credit and money are used up once each of his charges is taken, in order.
    SELECT priced.*, held.promo, held.aged,
           sum(charge_nano_usd) OVER in_order AS used,
           sum(CASE WHEN promo_ok THEN charge_nano_usd ELSE 0 END) OVER in_order AS for_promo
    FROM priced JOIN held ON held.customer = priced.customer
    WINDOW in_order AS (PARTITION BY priced.customer ORDER BY place ROWS UNBOUNDED PRECEDING)
), written AS (
    INSERT INTO billing_usage (
        id, customer_id, api_key_id, at, source, label, kind, counterparty, quantity, unit, billed_units,
        fee_wei, cost_wei, cost_nano_usd, charge_nano_usd, markup_bps, rate_id, promo_nano_usd, fresh_nano_usd
    )
    SELECT new_id, customer, api_key, moment, source, label, kind, counterparty, quantity, p_unit, billed_units,
           fee_wei, cost_wei, cost_nano_usd, charge_nano_usd, markup_bps, rate,
           promo_after - promo_before, greatest(0, used - promo_after - aged)
               - greatest(0, used - charge_nano_usd - promo_before - aged)
    FROM split JOIN paid ON paid.customer_id = split.customer,
         LATERAL (SELECT least(promo, for_promo) AS promo_after, least(
             promo, for_promo - CASE WHEN promo_ok THEN charge_nano_usd ELSE 0 END) AS promo_before) parts
    ORDER BY place
)
SELECT array_agg(CASE WHEN paid.customer_id IS NOT NULL THEN new_id END ORDER BY place) INTO usage_ids
FROM priced LEFT JOIN paid ON paid.customer_id = priced.customer;
RETURN usage_ids;
END $$;

REVOKE EXECUTE ON FUNCTION
    billing_debit(bigint, bigint, uuid, text, text, text, int, text, numeric, numeric, numeric, bigint, int, boolean),
    billing_debit_all(
        bigint[], bigint[], uuid[], text[], text[], text[], int[], text, numeric[], numeric[], numeric[], bigint[],
        int[], boolean[])
FROM PUBLIC;
