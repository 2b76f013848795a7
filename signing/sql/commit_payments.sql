-- Commits what is plain in an array (what that is stands below), and returns the places of those, counted from 1.
CREATE OR REPLACE FUNCTION signing_commit_plain_payments(p_payments jsonb) RETURNS bigint[]
LANGUAGE plpgsql
-- Plans are made when tables are small and kept while they grow: every row is fetched by its key.
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    committed bigint[];
BEGIN
WITH asked AS MATERIALIZED (
    SELECT *, decode(payment.rand_hash, 'hex') AS rand, decode(payment.digest, 'hex') AS content
    FROM ROWS FROM (jsonb_to_recordset(p_payments) AS (
        customer bigint, api_key bigint, session uuid, presented bigint, expected bigint, expected_balance text,
        expected_at bigint, at bigint, sender text, orchestrator text, orchestrator_url text, recipient text,
        app text, kind text, manifest_id text, rand_hash text, first_nonce bigint, tickets int, balance text,
        price_per_unit bigint, pixels_per_unit bigint, digest text, answer text, label text,
        billed_units numeric, fee_wei numeric, cost_wei numeric, rate bigint, markup_bps int,
        face_value_wei numeric, win_prob numeric, creation_round bigint, creation_round_block_hash text,
        client_ip inet, user_agent text, gateway_request_id text, attribution_source text
    )) WITH ORDINALITY AS payment
), judged AS (
    SELECT asked.ordinality, asked.customer, coalesce(
        asked.tickets > 0
        AND again IS NULL
        AND coalesce(counter.last_nonce, 0) < asked.first_nonce
        AND count(*) OVER (PARTITION BY asked.sender, asked.rand) = 1
        AND count(*) OVER (PARTITION BY asked.customer, asked.session) = 1
        AND asked.at BETWEEN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - 3000000
                         AND (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + 500000
        AND CASE WHEN asked.presented IS NULL THEN asked.expected IS NULL ELSE
            held.sender = asked.sender AND held.sequence = asked.expected
            AND held.balance_wei = asked.expected_balance
            AND (extract(epoch FROM held.last_update) * 1000000)::bigint = asked.expected_at
            AND (held.sequence <> asked.presented + 1 OR held.last_digest <> asked.content)
        END, false) AS is_plain
    FROM asked
    LEFT JOIN LATERAL (
        SELECT sender, sequence, balance_wei, last_update, last_digest FROM signing_session
        WHERE asked.presented IS NOT NULL AND customer_id = asked.customer AND id = asked.session LIMIT 1
    ) held ON true
    LEFT JOIN LATERAL (
        SELECT 1 FROM signing_session
        WHERE asked.presented IS NULL AND customer_id = asked.customer AND opening_rand_hash = asked.rand
          AND opening_digest = asked.content AND sequence = 0
          AND opened_at > clock_timestamp() - interval '2 minutes' LIMIT 1
    ) again ON true
    LEFT JOIN LATERAL (
        SELECT last_nonce FROM signing_nonce
        WHERE sender = asked.sender AND recipient_rand_hash = asked.rand LIMIT 1
    ) counter ON true
), chosen AS (
    SELECT array_agg(place) AS places FROM (
        SELECT unnest(array_agg(ordinality)) AS place FROM judged GROUP BY customer HAVING bool_and(is_plain)
    ) of_plain_customers
), plain AS MATERIALIZED (
    SELECT asked.*, row_number() OVER (ORDER BY ordinality) AS place
    FROM asked WHERE ordinality = ANY ((SELECT places FROM chosen)::bigint[])
), debits AS MATERIALIZED (
    SELECT billing_debit_all(
        array_agg(customer ORDER BY place), array_agg(api_key ORDER BY place), array_agg(session ORDER BY place),
        array_agg(label ORDER BY place), array_agg(kind ORDER BY place), array_agg(recipient ORDER BY place),
        array_agg(tickets ORDER BY place), 'ticket', array_agg(billed_units ORDER BY place),
        array_agg(fee_wei ORDER BY place), array_agg(cost_wei ORDER BY place), array_agg(rate ORDER BY place),
        array_agg(markup_bps ORDER BY place)) AS usage_ids
    FROM plain
), paid AS MATERIALIZED (
    SELECT plain.*, debits.usage_ids[place] AS usage_id, first_nonce + tickets - 1 AS last_nonce,
           'epoch'::timestamptz + at * interval '1 microsecond' AS moment
    FROM plain, debits WHERE debits.usage_ids[place] IS NOT NULL
), counted AS (
    INSERT INTO signing_nonce AS n (sender, recipient_rand_hash, last_nonce)
    SELECT sender, rand, last_nonce FROM paid
    ON CONFLICT (sender, recipient_rand_hash) DO UPDATE
        SET last_nonce = excluded.last_nonce, touched_at = clock_timestamp()
), opened AS (
    INSERT INTO signing_session (
        customer_id, id, api_key_id, sender, orchestrator, orchestrator_url, recipient, app, kind, manifest_id,
        sequence, recipient_rand_hash, sender_nonce, balance_wei, initial_price_per_unit, initial_pixels_per_unit,
        opened_at, last_update, opening_digest, opening_rand_hash, last_digest, last_answer,
        client_ip, user_agent, last_client_ip, last_user_agent, gateway_request_id, attribution_source
    )
    SELECT customer, session, api_key, sender, orchestrator, orchestrator_url, recipient, app, kind, manifest_id,
           0, rand, last_nonce, balance, price_per_unit, pixels_per_unit,
           moment, moment, content, rand, content, convert_to(answer, 'UTF8'),
           client_ip, coalesce(user_agent, ''), client_ip, coalesce(user_agent, ''),
           coalesce(gateway_request_id, ''), coalesce(attribution_source, '')
    FROM paid WHERE presented IS NULL
), continued AS (
    UPDATE signing_session s SET
        api_key_id = paid.api_key, orchestrator_url = paid.orchestrator_url, recipient = paid.recipient,
        kind = paid.kind, manifest_id = paid.manifest_id, sequence = paid.expected + 1,
        recipient_rand_hash = paid.rand, sender_nonce = paid.last_nonce, balance_wei = paid.balance,
        last_update = paid.moment, last_digest = paid.content, last_answer = convert_to(paid.answer, 'UTF8'),
        last_client_ip = paid.client_ip, last_user_agent = coalesce(paid.user_agent, ''),
        gateway_request_id = coalesce(nullif(paid.gateway_request_id, ''), s.gateway_request_id),
        attribution_source = coalesce(nullif(paid.attribution_source, ''), s.attribution_source)
    FROM paid WHERE paid.presented IS NOT NULL AND s.customer_id = paid.customer AND s.id = paid.session
), issued AS (
    INSERT INTO signing_payment (
        customer_id, session_id, usage_id, sender, recipient, recipient_rand_hash, first_nonce, tickets,
        face_value_wei, win_prob, creation_round, creation_round_block_hash
    )
    SELECT customer, session, usage_id, sender, recipient, rand, first_nonce, tickets, face_value_wei, win_prob,
           creation_round, decode(creation_round_block_hash, 'hex')
    FROM paid
)
SELECT coalesce(array_agg(ordinality), '{}') INTO committed FROM paid;
RETURN committed;
END $$;

-- The signer's one writer: commits up to 64 signed payments in one call, each judged on its own, in arrival order.
--
-- p_payments is a JSON array; the members of an element are the columns of the loop's record below. A payment of zero
-- tickets only looks: it answers as a repeat or with the row, and writes nothing.
-- Returns {"now": <Unix microseconds>, "results": [...]} with one result an element:
--   {"outcome": "committed"}
--   {"outcome": "repeat", "answer": <the stored answer>}          asked and charged before
--   {"outcome": "stale", "last_nonce", ...}                       the caller worked from old values; here are the true ones
--   {"outcome": "refused", "code": "unknown_session" | "sender_changed" | "wrong_clock", or a refusal of
--                          billing_debit, "detail": <more in plain words, or null>}
--
-- Plain payments are judged and written as one set: a customer's are plain when each of them continues what the rows
-- say, shares neither session nor ticket parameters with another, and all together fit the wallet. Whatever is left is
-- judged one after the other.
--
-- Locks are taken in one order by every process: wallets by customer, then nonce counters by key. A wallet's lock
-- guards the sessions of its customer. One clock decides: the caller proposes the moment (`at`) in this database's
-- time, and a proposal that is further from it than a payment may wait is refused.
CREATE OR REPLACE FUNCTION signing_commit_payments(p_payments jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    plain bigint[];
    p record;
    held signing_session;
    counter bigint;
    debit record;
    moment timestamptz;
    clock_us bigint;
    results jsonb[] := '{}';
BEGIN
    IF jsonb_array_length(p_payments) > 64 THEN
        RAISE EXCEPTION 'at most 64 payments in one call' USING ERRCODE = 'program_limit_exceeded';
    END IF;
    PERFORM 1 FROM billing_wallet
    WHERE customer_id IN (SELECT (value ->> 'customer')::bigint FROM jsonb_array_elements(p_payments))
    ORDER BY customer_id FOR NO KEY UPDATE;
    PERFORM pg_advisory_xact_lock(counters.key) FROM (
        SELECT DISTINCT hashtextextended((value ->> 'sender') || (value ->> 'rand_hash'), 0) AS key
        FROM jsonb_array_elements(p_payments) ORDER BY key
    ) counters;

    plain := CASE WHEN jsonb_array_length(p_payments) >= 4
        THEN signing_commit_plain_payments(p_payments) ELSE '{}' END;
    IF cardinality(plain) = jsonb_array_length(p_payments) THEN
        RETURN jsonb_build_object(
            'now', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
            'results', to_jsonb(array_fill('{"outcome": "committed"}'::jsonb, ARRAY[cardinality(plain)])));
    END IF;

    FOR p IN SELECT * FROM ROWS FROM (jsonb_to_recordset(p_payments) AS (
        customer bigint, api_key bigint, session uuid, presented bigint, expected bigint, expected_balance text,
        expected_at bigint, at bigint, sender text, orchestrator text, orchestrator_url text, recipient text,
        app text, kind text, manifest_id text, rand_hash text, first_nonce bigint, tickets int, balance text,
        price_per_unit bigint, pixels_per_unit bigint, digest text, answer text, label text,
        billed_units numeric, fee_wei numeric, cost_wei numeric, rate bigint, markup_bps int,
        face_value_wei numeric, win_prob numeric, creation_round bigint, creation_round_block_hash text,
        client_ip inet, user_agent text, gateway_request_id text, attribution_source text
    )) WITH ORDINALITY AS payments ORDER BY ordinality LOOP
        IF p.ordinality = ANY (plain) THEN
            results := results || '{"outcome": "committed"}'::jsonb;
            CONTINUE;
        END IF;
        held := NULL;
        IF p.presented IS NULL THEN
            -- The same opening asked again within two minutes, and not yet continued: its answer was lost.
            SELECT * INTO held FROM signing_session
            WHERE customer_id = p.customer AND opening_rand_hash = decode(p.rand_hash, 'hex')
              AND opening_digest = decode(p.digest, 'hex') AND sequence = 0
              AND opened_at > clock_timestamp() - interval '2 minutes'
            ORDER BY opened_at DESC LIMIT 1;
            IF FOUND THEN
                results := results || jsonb_build_object(
                    'outcome', 'repeat', 'answer', convert_from(held.last_answer, 'UTF8'));
                CONTINUE;
            END IF;
        ELSE
            SELECT * INTO held FROM signing_session WHERE customer_id = p.customer AND id = p.session;
            IF NOT FOUND THEN
                results := results || jsonb_build_object('outcome', 'refused', 'code', 'unknown_session');
                CONTINUE;
            ELSIF held.sequence = p.presented + 1 AND held.last_digest = decode(p.digest, 'hex') THEN
                results := results || jsonb_build_object(
                    'outcome', 'repeat', 'answer', convert_from(held.last_answer, 'UTF8'));
                CONTINUE;
            ELSIF held.sender <> p.sender THEN
                results := results || jsonb_build_object('outcome', 'refused', 'code', 'sender_changed');
                CONTINUE;
            END IF;
        END IF;

        SELECT last_nonce INTO counter FROM signing_nonce
        WHERE sender = p.sender AND recipient_rand_hash = decode(p.rand_hash, 'hex');
        counter := coalesce(counter, 0);
        IF p.tickets = 0 OR counter >= p.first_nonce
           OR ROW (held.sequence, held.balance_wei, (extract(epoch FROM held.last_update) * 1000000)::bigint)
              IS DISTINCT FROM ROW (p.expected, p.expected_balance, p.expected_at) THEN
            results := results || jsonb_build_object('outcome', 'stale', 'last_nonce', counter);
            IF p.presented IS NOT NULL THEN
                results[cardinality(results)] := results[cardinality(results)] || jsonb_build_object(
                    'sequence', held.sequence, 'balance', held.balance_wei, 'kind', held.kind,
                    'at', (extract(epoch FROM held.last_update) * 1000000)::bigint,
                    'digest', encode(held.last_digest, 'hex'),
                    'answer', CASE WHEN held.sequence = p.presented + 1
                                   THEN convert_from(held.last_answer, 'UTF8') END);
            END IF;
            CONTINUE;
        END IF;

        clock_us := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
        IF p.at NOT BETWEEN clock_us - 3000000 AND clock_us + 500000 THEN
            results := results || jsonb_build_object('outcome', 'refused', 'code', 'wrong_clock');
            CONTINUE;
        END IF;
        SELECT * INTO debit FROM billing_debit(
            p.customer, p.api_key, p.session, p.label, p.kind, p.recipient, p.tickets, 'ticket', p.billed_units,
            p.fee_wei, p.cost_wei, p.rate, p.markup_bps);
        IF debit.refusal IS NOT NULL THEN
            results := results || jsonb_build_object(
                'outcome', 'refused', 'code', debit.refusal, 'detail', debit.detail);
            CONTINUE;
        END IF;

        moment := 'epoch'::timestamptz + p.at * interval '1 microsecond';
        INSERT INTO signing_nonce AS n (sender, recipient_rand_hash, last_nonce)
        VALUES (p.sender, decode(p.rand_hash, 'hex'), p.first_nonce + p.tickets - 1)
        ON CONFLICT (sender, recipient_rand_hash) DO UPDATE
            SET last_nonce = excluded.last_nonce, touched_at = clock_timestamp();
        IF p.presented IS NULL THEN
            INSERT INTO signing_session (
                customer_id, id, api_key_id, sender, orchestrator, orchestrator_url, recipient, app, kind,
                manifest_id, sequence, recipient_rand_hash, sender_nonce, balance_wei, initial_price_per_unit,
                initial_pixels_per_unit, opened_at, last_update, opening_digest, opening_rand_hash, last_digest,
                last_answer, client_ip, user_agent, last_client_ip, last_user_agent, gateway_request_id,
                attribution_source
            ) VALUES (
                p.customer, p.session, p.api_key, p.sender, p.orchestrator, p.orchestrator_url, p.recipient, p.app,
                p.kind, p.manifest_id, 0, decode(p.rand_hash, 'hex'), p.first_nonce + p.tickets - 1, p.balance,
                p.price_per_unit, p.pixels_per_unit, moment, moment, decode(p.digest, 'hex'),
                decode(p.rand_hash, 'hex'), decode(p.digest, 'hex'), convert_to(p.answer, 'UTF8'),
                p.client_ip, coalesce(p.user_agent, ''), p.client_ip, coalesce(p.user_agent, ''),
                coalesce(p.gateway_request_id, ''), coalesce(p.attribution_source, ''));
        ELSE
            UPDATE signing_session SET
                api_key_id = p.api_key, orchestrator_url = p.orchestrator_url, recipient = p.recipient,
                kind = p.kind, manifest_id = p.manifest_id, sequence = p.expected + 1,
                recipient_rand_hash = decode(p.rand_hash, 'hex'), sender_nonce = p.first_nonce + p.tickets - 1,
                balance_wei = p.balance, last_update = moment, last_digest = decode(p.digest, 'hex'),
                last_answer = convert_to(p.answer, 'UTF8'),
                last_client_ip = p.client_ip, last_user_agent = coalesce(p.user_agent, ''),
                gateway_request_id = coalesce(nullif(p.gateway_request_id, ''), held.gateway_request_id),
                attribution_source = coalesce(nullif(p.attribution_source, ''), held.attribution_source)
            WHERE customer_id = p.customer AND id = p.session;
        END IF;
        INSERT INTO signing_payment (
            customer_id, session_id, usage_id, sender, recipient, recipient_rand_hash, first_nonce, tickets,
            face_value_wei, win_prob, creation_round, creation_round_block_hash
        ) VALUES (
            p.customer, p.session, debit.usage_id, p.sender, p.recipient, decode(p.rand_hash, 'hex'), p.first_nonce,
            p.tickets, p.face_value_wei, p.win_prob, p.creation_round, decode(p.creation_round_block_hash, 'hex'));
        results := results || jsonb_build_object('outcome', 'committed');
    END LOOP;
    RETURN jsonb_build_object(
        'now', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, 'results', to_jsonb(results));
END $$;

REVOKE EXECUTE ON FUNCTION signing_commit_payments(jsonb), signing_commit_plain_payments(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION signing_commit_payments(jsonb) TO clearinghouse_signer;
