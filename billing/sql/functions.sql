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
-- What a customer owes us (account 1160) stands in his wallet as well, whoever books it: signers see it there.
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
        IF (leg #>> '{debit,0}') = '1160' THEN
            INSERT INTO billing_wallet AS w (customer_id, available_nano_usd, debt_nano_usd)
            VALUES ((leg #>> '{debit,1}')::bigint, 0, (leg ->> 'amount')::bigint)
            ON CONFLICT (customer_id) DO UPDATE SET
                debt_nano_usd = w.debt_nano_usd + (leg ->> 'amount')::bigint, updated_at = clock_timestamp();
        END IF;
        IF (leg #>> '{credit,0}') = '1160' THEN
            UPDATE billing_wallet SET
                debt_nano_usd = debt_nano_usd - (leg ->> 'amount')::bigint, updated_at = clock_timestamp()
            WHERE customer_id = (leg #>> '{credit,1}')::bigint;
        END IF;
    END LOOP;
    RETURN journal;
END $$;

-- The price of some wei: wei * rate * (1 + markup), rounded up once to whole nano-dollars.
CREATE OR REPLACE FUNCTION billing_price_nano_usd(p_wei numeric, p_nano_usd_per_eth bigint, p_markup_bps int)
RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT div(p_wei * p_nano_usd_per_eth * (10000 + p_markup_bps) + (1e22::numeric - 1), 1e22::numeric)::bigint
$$;

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

REVOKE EXECUTE ON FUNCTION
    billing_account(int, text, text),
    billing_book(text, text, timestamptz, text, bigint, jsonb),
    billing_record_rate(text, numeric, bigint, timestamptz),
    billing_refuse_change(),
    billing_check_transfer()
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION billing_book(text, text, timestamptz, text, bigint, jsonb) TO clearinghouse_worker;
GRANT EXECUTE ON FUNCTION billing_record_rate(text, numeric, bigint, timestamptz)
    TO clearinghouse_signer, clearinghouse_worker;
