-- The only writers of the books. They run with the rights of their owner; each service may execute just its own.
-- pg_temp comes last in their search_path: in front, where it stands when it is not named, a caller's temporary table
-- would be taken for one of the books, and its triggers would run with the owner's rights.

CREATE OR REPLACE FUNCTION billing_account(p_number int, p_asset text, p_party text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    found_id bigint;
BEGIN
    SELECT id INTO found_id FROM billing_ledgeraccount
    WHERE number = p_number AND asset = p_asset AND party = p_party;
    IF found_id IS NULL THEN
        INSERT INTO billing_ledgeraccount (number, asset, party) VALUES (p_number, p_asset, p_party)
        ON CONFLICT (number, asset, party) DO NOTHING RETURNING id INTO found_id;
        IF found_id IS NULL THEN
            SELECT id INTO found_id FROM billing_ledgeraccount
            WHERE number = p_number AND asset = p_asset AND party = p_party;
        END IF;
    END IF;
    RETURN found_id;
END $$;

-- Books one journal; p_transfers is a JSON array of
-- {"debit": [number, party], "credit": [number, party], "asset": "USD" | "ETH", "amount": "<digits>"}.
-- Returns the journal's id, or NULL when the reference was booked before (then nothing changes).
CREATE OR REPLACE FUNCTION billing_book(
    p_kind text, p_reference text, p_occurred_at timestamptz, p_description text, p_customer bigint, p_transfers jsonb
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    journal bigint;
    leg jsonb;
BEGIN
    IF jsonb_array_length(p_transfers) = 0 THEN
        RAISE EXCEPTION 'a journal needs at least one transfer' USING ERRCODE = 'check_violation';
    END IF;
    INSERT INTO billing_journal (kind, reference, occurred_at, description, customer_id)
    VALUES (p_kind, p_reference, p_occurred_at, p_description, p_customer)
    ON CONFLICT (reference) DO NOTHING RETURNING id INTO journal;
    IF journal IS NULL THEN
        RETURN NULL;
    END IF;
    FOR leg IN SELECT * FROM jsonb_array_elements(p_transfers) LOOP
        INSERT INTO billing_transfer (journal_id, debit_id, credit_id, amount_nano_usd, amount_wei)
        VALUES (
            journal,
            billing_account((leg #>> '{debit,0}')::int, leg ->> 'asset', leg #>> '{debit,1}'),
            billing_account((leg #>> '{credit,0}')::int, leg ->> 'asset', leg #>> '{credit,1}'),
            CASE WHEN leg ->> 'asset' = 'USD' THEN (leg ->> 'amount')::bigint END,
            CASE WHEN leg ->> 'asset' = 'ETH' THEN (leg ->> 'amount')::numeric END
        );
    END LOOP;
    RETURN journal;
END $$;

-- Books a journal and adds its amount to a wallet, once per reference. Returns the journal's id or NULL (booked before).
CREATE OR REPLACE FUNCTION billing_credit(
    p_customer bigint, p_amount_nano_usd bigint, p_kind text, p_reference text, p_occurred_at timestamptz,
    p_description text, p_transfers jsonb
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    journal bigint;
BEGIN
    IF p_amount_nano_usd <= 0 THEN
        RAISE EXCEPTION 'a credit is positive' USING ERRCODE = 'check_violation';
    END IF;
    journal := billing_book(p_kind, p_reference, p_occurred_at, p_description, p_customer, p_transfers);
    IF journal IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO billing_walletentry (customer_id, kind, amount_nano_usd, reference, description, journal_id)
    VALUES (p_customer, p_kind, p_amount_nano_usd, p_reference, p_description, journal);
    INSERT INTO billing_wallet AS w (customer_id, available_nano_usd) VALUES (p_customer, p_amount_nano_usd)
    ON CONFLICT (customer_id) DO UPDATE
        SET available_nano_usd = w.available_nano_usd + p_amount_nano_usd, updated_at = clock_timestamp();
    RETURN journal;
END $$;

-- The price of some wei: wei * rate * (1 + markup), rounded up once to whole nano-dollars.
CREATE OR REPLACE FUNCTION billing_price_nano_usd(p_wei numeric, p_nano_usd_per_eth bigint, p_markup_bps int)
RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT div(p_wei * p_nano_usd_per_eth * (10000 + p_markup_bps) + (1e22::numeric - 1), 1e22::numeric)::bigint
$$;

-- Takes the price of p_cost_wei from a wallet and writes the usage row. Refusals change nothing and are told by name:
-- key_revoked, account_frozen, insufficient_credit. Called by the signer's own function only, inside its commit.
CREATE OR REPLACE FUNCTION billing_debit(
    p_customer bigint, p_api_key bigint, p_source uuid, p_label text, p_kind text, p_counterparty text,
    p_quantity int, p_unit text, p_billed_units numeric, p_fee_wei numeric, p_cost_wei numeric,
    p_rate bigint, p_markup_bps int,
    OUT usage_id bigint, OUT refusal text, OUT charged_nano_usd bigint
) LANGUAGE plpgsql AS $$
DECLARE
    account_status text;
    revoked timestamptz;
    rate_nano_usd bigint;
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
    charged_nano_usd := billing_price_nano_usd(p_cost_wei, rate_nano_usd, p_markup_bps);
    UPDATE billing_wallet
    SET available_nano_usd = available_nano_usd - charged_nano_usd, updated_at = clock_timestamp()
    WHERE customer_id = p_customer AND available_nano_usd >= charged_nano_usd;
    IF NOT FOUND THEN
        refusal := 'insufficient_credit';
        charged_nano_usd := NULL;
        RETURN;
    END IF;
    INSERT INTO billing_usage (
        customer_id, api_key_id, source, label, kind, counterparty, quantity, unit, billed_units,
        fee_wei, cost_wei, cost_nano_usd, charge_nano_usd, markup_bps, rate_id
    ) VALUES (
        p_customer, p_api_key, p_source, p_label, p_kind, p_counterparty, p_quantity, p_unit, p_billed_units,
        p_fee_wei, p_cost_wei, billing_price_nano_usd(p_cost_wei, rate_nano_usd, 0), charged_nano_usd,
        p_markup_bps, p_rate
    ) RETURNING id INTO usage_id;
END $$;

-- billing_debit for many at once: those of one customer are all debited or none of them. Returns a usage id for each,
-- in order; NULL stands for each that was not debited, and billing_debit tells why.
CREATE OR REPLACE FUNCTION billing_debit_all(
    p_customers bigint[], p_api_keys bigint[], p_sources uuid[], p_labels text[], p_kinds text[],
    p_counterparties text[], p_quantities int[], p_unit text, p_billed_units numeric[], p_fee_wei numeric[],
    p_cost_wei numeric[], p_rates bigint[], p_markup_bps int[]
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    usage_ids bigint[];
BEGIN
WITH priced AS MATERIALIZED (
    SELECT debit.*, nextval('billing_usage_id') AS new_id, k.may_pay,
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
    SELECT customer, sum(charge_nano_usd) AS total FROM priced
    GROUP BY customer HAVING bool_and(coalesce(may_pay AND charge_nano_usd > 0, false))
), paid AS (
    UPDATE billing_wallet w SET available_nano_usd = available_nano_usd - total, updated_at = clock_timestamp()
    FROM totals WHERE w.customer_id = totals.customer AND w.available_nano_usd >= totals.total
    RETURNING w.customer_id
), written AS (
    INSERT INTO billing_usage (
        id, customer_id, api_key_id, source, label, kind, counterparty, quantity, unit, billed_units,
        fee_wei, cost_wei, cost_nano_usd, charge_nano_usd, markup_bps, rate_id
    )
    SELECT new_id, customer, api_key, source, label, kind, counterparty, quantity, p_unit, billed_units,
           fee_wei, cost_wei, cost_nano_usd, charge_nano_usd, markup_bps, rate
    FROM priced JOIN paid ON paid.customer_id = priced.customer ORDER BY place
)
SELECT array_agg(CASE WHEN paid.customer_id IS NOT NULL THEN new_id END ORDER BY place) INTO usage_ids
FROM priced LEFT JOIN paid ON paid.customer_id = priced.customer;
RETURN usage_ids;
END $$;

-- Records a price feed's answer once per feed round and returns its row.
CREATE OR REPLACE FUNCTION billing_record_rate(
    p_feed text, p_round numeric, p_nano_usd_per_eth bigint, p_updated_at timestamptz
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    found_id bigint;
BEGIN
    IF p_nano_usd_per_eth <= 0 THEN
        RAISE EXCEPTION 'a rate is positive' USING ERRCODE = 'check_violation';
    END IF;
    SELECT id INTO found_id FROM billing_ethusdrate WHERE feed_address = p_feed AND feed_round = p_round;
    IF found_id IS NULL THEN
        INSERT INTO billing_ethusdrate (feed_address, feed_round, nano_usd_per_eth, updated_at)
        VALUES (p_feed, p_round, p_nano_usd_per_eth, p_updated_at)
        ON CONFLICT (feed_address, feed_round) DO NOTHING RETURNING id INTO found_id;
        IF found_id IS NULL THEN
            SELECT id INTO found_id FROM billing_ethusdrate WHERE feed_address = p_feed AND feed_round = p_round;
        END IF;
    END IF;
    RETURN found_id;
END $$;

-- The poster: turns usage that no journal covers yet into journals, one per customer and UTC day.
-- Dr 2100 customer / Cr 4000 charge; Dr 5000 / Cr 2300 recipient cost; Dr 9100 / Cr 2300 recipient wei.
-- Returns how many usage rows were posted.
CREATE OR REPLACE FUNCTION billing_post_usage(p_limit int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    batch record;
    journal bigint;
    posted int := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('billing_post_usage'));
    FOR batch IN
        WITH picked AS (
            SELECT customer_id, id, at FROM billing_usage WHERE journal_id IS NULL
            ORDER BY customer_id, id LIMIT p_limit
        )
        SELECT customer_id, min(id) AS first_id, max(at) AS last_at, array_agg(id) AS ids
        FROM picked GROUP BY customer_id, date_trunc('day', at, 'UTC')
        ORDER BY customer_id, first_id
    LOOP
        INSERT INTO billing_journal (kind, reference, occurred_at, description, customer_id)
        VALUES ('usage', 'usage:' || batch.customer_id || ':' || batch.first_id, batch.last_at,
                cardinality(batch.ids) || ' payments', batch.customer_id)
        RETURNING id INTO journal;
        INSERT INTO billing_transfer (journal_id, debit_id, credit_id, amount_nano_usd, amount_wei)
        SELECT journal, billing_account(2100, 'USD', batch.customer_id::text), billing_account(4000, 'USD', ''),
               sum(charge_nano_usd), NULL
        FROM billing_usage WHERE customer_id = batch.customer_id AND id = ANY (batch.ids);
        INSERT INTO billing_transfer (journal_id, debit_id, credit_id, amount_nano_usd, amount_wei)
        SELECT journal, billing_account(5000, 'USD', ''), billing_account(2300, 'USD', counterparty),
               sum(cost_nano_usd), NULL::numeric
        FROM billing_usage WHERE customer_id = batch.customer_id AND id = ANY (batch.ids) GROUP BY counterparty
        UNION ALL
        SELECT journal, billing_account(9100, 'ETH', ''), billing_account(2300, 'ETH', counterparty),
               NULL::bigint, sum(cost_wei)
        FROM billing_usage WHERE customer_id = batch.customer_id AND id = ANY (batch.ids) GROUP BY counterparty;
        UPDATE billing_usage SET journal_id = journal
        WHERE customer_id = batch.customer_id AND id = ANY (batch.ids);
        posted := posted + cardinality(batch.ids);
    END LOOP;
    RETURN posted;
END $$;

REVOKE EXECUTE ON FUNCTION
    billing_account(int, text, text),
    billing_book(text, text, timestamptz, text, bigint, jsonb),
    billing_credit(bigint, bigint, text, text, timestamptz, text, jsonb),
    billing_debit(bigint, bigint, uuid, text, text, text, int, text, numeric, numeric, numeric, bigint, int),
    billing_debit_all(
        bigint[], bigint[], uuid[], text[], text[], text[], int[], text, numeric[], numeric[], numeric[], bigint[], int[]),
    billing_record_rate(text, numeric, bigint, timestamptz),
    billing_post_usage(int),
    billing_refuse_change(),
    billing_check_transfer()
FROM PUBLIC;
