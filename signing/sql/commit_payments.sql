-- A payment that the signer asks to commit. Values travel in binary; amounts that may pass 64 bits as decimal text.
-- The attributes stand in this order in signing/signer/asked_payments.py too. Applying this file makes the type anew.
DROP FUNCTION IF EXISTS
    signing_commit_payments(jsonb), signing_commit_plain_payments(jsonb),
    signing_commit_payments(signing_asked_payment[]), signing_commit_plain_payments(signing_asked_payment[]),
    signing_commit_payments(signing_asked_payment[], jsonb),
    signing_commit_plain_payments(signing_asked_payment[], jsonb, bigint[], boolean),
    signing_count_fresh(bigint[], bigint[]), signing_counted_here(text), signing_told(signing_session, boolean);
DROP TYPE IF EXISTS signing_asked_payment;
CREATE TYPE signing_asked_payment AS (
    customer bigint, api_key bigint, tickets bigint, at bigint, first_nonce bigint, price_per_unit bigint,
    pixels_per_unit bigint, rate bigint, markup_bps bigint, creation_round bigint,
    presented bigint, expected bigint, expected_at bigint,
    session uuid, rand_hash bytea, digest bytea, creation_round_block_hash bytea, answer bytea,
    sender text, orchestrator text, orchestrator_url text, recipient text, app text, kind text, manifest_id text,
    label text, balance text, expected_balance text,
    billed_units text, fee_wei text, cost_wei text, face_value_wei text, win_prob text,
    client_ip text, user_agent text, gateway_request_id text, attribution_source text
);

-- Counts the fresh parts of usage rows that this transaction wrote (tables: velocity.sql), and tells them:
-- {recipient: nano-dollars}, without those that got none.
CREATE FUNCTION signing_count_fresh(p_customers bigint[], p_usages bigint[]) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    sent jsonb;
BEGIN
WITH used AS MATERIALIZED (
    SELECT u.customer_id, u.counterparty AS recipient, date_trunc('hour', u.at, 'UTC') AS hour,
           sum(u.fresh_nano_usd)::bigint AS fresh
    FROM unnest(p_customers, p_usages) AS written (customer, usage)
    JOIN LATERAL (SELECT * FROM billing_usage WHERE customer_id = customer AND id = usage LIMIT 1) u ON true
    WHERE u.fresh_nano_usd > 0 GROUP BY 1, 2, 3
), of_customers AS (
    INSERT INTO signing_velocity AS v (customer_id, recipient, hour, fresh_nano_usd)
    SELECT customer_id, recipient, hour, fresh FROM used
    ON CONFLICT (customer_id, recipient, hour) DO UPDATE
        SET fresh_nano_usd = v.fresh_nano_usd + excluded.fresh_nano_usd
), of_recipients AS (
    INSERT INTO signing_recipientvelocity AS v (recipient, hour, backend, fresh_nano_usd)
    SELECT recipient, hour, pg_backend_pid(), sum(fresh) FROM used GROUP BY recipient, hour
    ON CONFLICT (recipient, hour, backend) DO UPDATE SET fresh_nano_usd = v.fresh_nano_usd + excluded.fresh_nano_usd
)
SELECT coalesce(jsonb_object_agg(recipient, fresh), '{}') INTO sent
FROM (SELECT recipient, sum(fresh) AS fresh FROM used GROUP BY recipient) sums;
RETURN sent;
END $$;

-- What the signer needs of a session that stands otherwise than it thought: the members of its state, and where
-- p_with_answer is set its last answer, "stored" as hexadecimal. Rows of former signers hold the text that was
-- answered, which is told as "answer".
CREATE FUNCTION signing_told(held signing_session, p_with_answer boolean) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
RETURN jsonb_build_object(
    'session', replace(held.id::text, '-', ''), 'sequence', held.sequence, 'balance', held.balance_wei,
    'nonce', held.sender_nonce, 'rand_hash', encode(held.recipient_rand_hash, 'hex'),
    'orchestrator', held.orchestrator, 'app', held.app, 'kind', held.kind,
    'price_per_unit', held.initial_price_per_unit, 'pixels_per_unit', held.initial_pixels_per_unit,
    'at', (extract(epoch FROM held.last_update) * 1000000)::bigint
) || CASE
    WHEN NOT p_with_answer THEN '{}'::jsonb
    WHEN substr(held.last_answer, 1, 1) = '\x7b' THEN jsonb_build_object('answer', convert_from(held.last_answer, 'UTF8'))
    ELSE jsonb_build_object('stored', encode(held.last_answer, 'hex'))
END;
END $$;

-- Commits what is plain in an array (what that is stands below), and returns the places of those, counted from 1, and
-- how much fresh money they sent to whom. p_apart are customers of whom nothing is plain; p_has_fresh says that somebody
-- else may pay with fresh money.
CREATE OR REPLACE FUNCTION signing_commit_plain_payments(
    p_payments signing_asked_payment[], p_rules jsonb, p_apart bigint[], p_has_fresh boolean,
    OUT places bigint[], OUT sent jsonb
) LANGUAGE plpgsql AS $$
DECLARE
    plain signing_asked_payment[] := p_payments;
    apart bigint[];
    customers bigint[];
    usages bigint[];
    clock_us bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
BEGIN
-- Whoever asks for one payment that is not plain.
WITH asked AS MATERIALIZED (
    SELECT customer, session, sender, rand_hash, creation_round, digest, tickets, at, first_nonce, presented, expected,
           expected_balance, expected_at
    FROM unnest(p_payments)
)
SELECT array_agg(asked.customer) INTO apart
FROM asked
LEFT JOIN LATERAL (
    SELECT sender, sequence, balance_wei, last_update, last_digest FROM signing_session
    WHERE asked.presented IS NOT NULL AND customer_id = asked.customer AND id = asked.session LIMIT 1
) held ON true
CROSS JOIN LATERAL (
    SELECT max(paid.first_nonce + paid.tickets - 1) AS last_nonce, bool_and(paid.sender = asked.sender) AS is_own
    FROM (VALUES (asked.creation_round - 1), (asked.creation_round), (asked.creation_round + 1)) AS rounds (round),
    LATERAL (
        SELECT sender, first_nonce, tickets FROM signing_payment
        WHERE creation_round = round AND recipient_rand_hash = asked.rand_hash ORDER BY first_nonce DESC LIMIT 1
    ) paid
) newest
WHERE NOT coalesce(
    asked.tickets > 0 AND asked.customer <> ALL (p_apart)
    AND asked.rand_hash <> ALL (ARRAY(SELECT rand_hash FROM asked GROUP BY sender, rand_hash HAVING count(*) > 1))
    AND asked.session <> ALL (ARRAY(SELECT session FROM asked GROUP BY customer, session HAVING count(*) > 1))
    AND asked.at BETWEEN clock_us - 3000000 AND clock_us + 500000
    AND coalesce(newest.last_nonce, 0) < asked.first_nonce
    -- An opening whose ticket parameters were used before may be a repeat; those of another sender count by themselves.
    AND CASE WHEN asked.presented IS NULL THEN asked.expected IS NULL AND newest.last_nonce IS NULL ELSE
        coalesce(newest.is_own, true)
        AND held.sender = asked.sender AND held.sequence = asked.expected
        AND held.balance_wei = asked.expected_balance
        AND (extract(epoch FROM held.last_update) * 1000000)::bigint = asked.expected_at
        AND (held.sequence <> asked.presented + 1 OR held.last_digest <> asked.digest)
    END, false);
IF apart IS NOT NULL THEN
    SELECT array_agg(p_payments[place] ORDER BY place), array_agg(place ORDER BY place) INTO plain, places
    FROM generate_subscripts(p_payments, 1) AS place WHERE (p_payments[place]).customer <> ALL (apart);
    IF plain IS NULL THEN
        RETURN;
    END IF;
END IF;

SELECT billing_debit_all(
    array_agg(customer), array_agg(api_key), array_agg(session), array_agg(label), array_agg(kind),
    array_agg(recipient), array_agg(tickets::int), 'ticket', array_agg(billed_units::numeric),
    array_agg(fee_wei::numeric), array_agg(cost_wei::numeric), array_agg(rate), array_agg(markup_bps::int),
    array_agg(coalesce((p_rules -> 'recipients' -> recipient ->> 'promo')::boolean, false))
) INTO usages
FROM (SELECT * FROM unnest(plain) WITH ORDINALITY AS asked ORDER BY ordinality) in_order;

WITH paid AS MATERIALIZED (
    SELECT asked.*, usages[ordinality] AS usage_id, first_nonce + tickets - 1 AS last_nonce,
           'epoch'::timestamptz + at * interval '1 microsecond' AS moment
    FROM unnest(plain) WITH ORDINALITY AS asked WHERE usages[ordinality] IS NOT NULL
), opened AS (
    INSERT INTO signing_session (
        customer_id, id, api_key_id, sender, orchestrator, orchestrator_url, recipient, app, kind, manifest_id,
        sequence, recipient_rand_hash, sender_nonce, balance_wei, initial_price_per_unit, initial_pixels_per_unit,
        opened_at, last_update, opening_digest, opening_rand_hash, last_digest, last_answer,
        client_ip, user_agent, last_client_ip, last_user_agent, gateway_request_id, attribution_source
    )
    SELECT customer, session, api_key, sender, orchestrator, orchestrator_url, recipient, app, kind, manifest_id,
           0, rand_hash, last_nonce, balance, price_per_unit, pixels_per_unit,
           moment, moment, digest, rand_hash, digest, answer,
           client_ip::inet, coalesce(user_agent, ''), client_ip::inet, coalesce(user_agent, ''),
           coalesce(gateway_request_id, ''), coalesce(attribution_source, '')
    FROM paid WHERE presented IS NULL
), continued AS (
    UPDATE signing_session s SET
        api_key_id = paid.api_key, orchestrator_url = paid.orchestrator_url, recipient = paid.recipient,
        kind = paid.kind, manifest_id = paid.manifest_id, sequence = paid.expected + 1,
        recipient_rand_hash = paid.rand_hash, sender_nonce = paid.last_nonce, balance_wei = paid.balance,
        last_update = paid.moment, last_digest = paid.digest, last_answer = paid.answer,
        last_client_ip = paid.client_ip::inet, last_user_agent = coalesce(paid.user_agent, ''),
        gateway_request_id = coalesce(nullif(paid.gateway_request_id, ''), s.gateway_request_id),
        attribution_source = coalesce(nullif(paid.attribution_source, ''), s.attribution_source)
    FROM paid WHERE paid.presented IS NOT NULL AND s.customer_id = paid.customer AND s.id = paid.session
), issued AS (
    INSERT INTO signing_payment (
        customer_id, id, session_id, usage_id, sender, recipient, recipient_rand_hash, first_nonce, tickets,
        face_value_wei, win_prob, creation_round, creation_round_block_hash
    )
    SELECT customer, usage_id, session, usage_id, sender, recipient, rand_hash, first_nonce, tickets, face_value_wei::numeric,
           win_prob::numeric, creation_round, creation_round_block_hash
    FROM paid
)
SELECT coalesce(array_agg(coalesce(places[ordinality], ordinality)), '{}'), array_agg(customer), array_agg(usage_id)
INTO places, customers, usages FROM paid;
IF p_has_fresh THEN
    sent := signing_count_fresh(customers, usages);
END IF;
END $$;

-- The signer's one writer: commits up to 64 signed payments in one call, each judged on its own, in arrival order.
--
-- p_rules says what holds for fresh money and promotional credit, amounts in nano-dollars; what it does not name gets
-- neither: {"customer_cap", "recipients": {address: {"promo": whether promotional credit pays it, "pair_cap" or null,
-- "room": how much fresh money this call may send it, "first": true where nobody is known to have paid it before}},
-- "has_first": there where any of them has that}.
-- A payment of zero tickets only looks: it answers as a repeat or with the row, and writes nothing.
-- Returns NULL when all are committed and no fresh money was at hand, else (and for none) {"results": one for each
-- payment, "fresh": {address: nano-dollars of fresh money sent}}. A result is one of
--   {"outcome": "committed"}
--   {"outcome": "repeat", ...}                                    asked and charged before: signing_told, with its answer
--   {"outcome": "stale", "last_nonce", ...}                       the caller worked from old values; here are the true ones
--   {"outcome": "refused", "code": "unknown_session" | "sender_changed" | "wrong_clock", or a refusal of
--                          billing_debit, "detail": <more in plain words, or null>}
--   {"outcome": "refused", "code": "velocity", ...}               a cap on fresh money, see signing_judge_fresh
--
-- A payment has the number of its usage row, by which pages find it.
--
-- Plain payments are judged and written as one set: a customer's are plain when each of them continues what the rows
-- say, shares neither session nor ticket parameters with another, and all together fit the wallet and the caps on
-- fresh money. Whatever is left is judged one after the other.
--
-- Locks are taken in one order by every process: wallets by customer, then ticket parameters by key. A wallet's lock
-- guards the sessions of its customer, that of a sender and a recipient rand hash the nonces of theirs: the last one is
-- the highest that a payment has. Payments are found by round first, so that those of today lie together in the index,
-- and looked for in the rounds beside the asked one too: tickets are redeemed in their round and the one after, so those
-- of rounds further apart are never both good, and may share nonces. So the payment that began highest tells the last
-- nonce of one round alone, and of its own sender alone. One clock decides: the caller proposes the moment (`at`) in this
-- database's time, and a proposal that is further from it than a payment may wait is refused.
CREATE OR REPLACE FUNCTION signing_commit_payments(
    p_payments signing_asked_payment[], p_rules jsonb DEFAULT '{}'
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
-- Plans are made when tables are small and kept while they grow: every row is fetched by its key.
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    plain bigint[] := '{}';
    p signing_asked_payment;
    place int := 0;
    held signing_session;
    newest record;
    counter bigint;
    debit record;
    moment timestamptz;
    clock_us bigint;
    results jsonb[] := '{}';
    committed int := 0;
    has_fresh boolean;
    apart bigint[] := '{}';
    done record;
    sent jsonb := '{}';
    verdict jsonb;
BEGIN
    IF cardinality(p_payments) > 64 THEN
        RAISE EXCEPTION 'at most 64 payments in one call' USING ERRCODE = 'program_limit_exceeded';
    END IF;
    IF cardinality(p_payments) = 1 THEN
        p := p_payments[1];
        SELECT fresh_nano_usd > 0 INTO has_fresh FROM billing_wallet WHERE customer_id = p.customer FOR NO KEY UPDATE;
        PERFORM pg_advisory_xact_lock(hashtextextended(p.sender || encode(p.rand_hash, 'hex'), 0));
    ELSE
        -- Who has no wallet yet may have one, with fresh money, when the debit looks.
        SELECT bool_or(fresh_nano_usd > 0) OR count(*) < (SELECT count(DISTINCT customer) FROM unnest(p_payments))
        INTO has_fresh FROM (
            SELECT fresh_nano_usd FROM billing_wallet
            WHERE customer_id = ANY (ARRAY(SELECT customer FROM unnest(p_payments)))
            ORDER BY customer_id FOR NO KEY UPDATE
        ) locked;
        PERFORM pg_advisory_xact_lock(nonces.key) FROM (
            SELECT DISTINCT hashtextextended(sender || encode(rand_hash, 'hex'), 0) AS key
            FROM unnest(p_payments) ORDER BY key
        ) nonces;
    END IF;

    has_fresh := coalesce(has_fresh, true);
    IF cardinality(p_payments) >= 4 THEN
        IF has_fresh THEN
            SELECT signing_near_a_cap(
                array_agg(customer), array_agg(recipient), array_agg(cost_wei::numeric), array_agg(rate),
                array_agg(markup_bps::int), p_rules) INTO apart FROM unnest(p_payments) WHERE tickets > 0;
        END IF;
        done := signing_commit_plain_payments(p_payments, p_rules, coalesce(apart, '{}'), has_fresh);
        plain := coalesce(done.places, '{}');
        sent := coalesce(done.sent, '{}');
        IF cardinality(plain) = cardinality(p_payments) AND NOT has_fresh THEN
            IF p_rules ? 'has_first' THEN
                INSERT INTO signing_recipientseen (recipient)
                SELECT DISTINCT recipient FROM unnest(p_payments)
                WHERE (p_rules -> 'recipients' -> recipient ->> 'first')::boolean
                ORDER BY recipient ON CONFLICT DO NOTHING;
            END IF;
            RETURN NULL;
        END IF;
    END IF;

    FOREACH p IN ARRAY p_payments LOOP
        place := place + 1;
        IF place = ANY (plain) THEN
            results := results || '{"outcome": "committed"}'::jsonb;
            committed := committed + 1;
            CONTINUE;
        END IF;
        held := NULL;
        SELECT max(paid.first_nonce + paid.tickets - 1) AS last_nonce, bool_and(paid.sender = p.sender) AS is_own
        INTO newest
        FROM (VALUES (p.creation_round - 1), (p.creation_round), (p.creation_round + 1)) AS rounds (round),
        LATERAL (
            SELECT sender, first_nonce, tickets FROM signing_payment
            WHERE creation_round = round AND recipient_rand_hash = p.rand_hash ORDER BY first_nonce DESC LIMIT 1
        ) paid;
        IF p.presented IS NULL AND newest.last_nonce IS NOT NULL THEN
            -- The same opening asked again within two minutes, and not yet continued: its answer was lost.
            -- Each row by one key, whatever the planner holds of a customer who was small when it last looked.
            SELECT s.* INTO held
            FROM (VALUES (p.creation_round - 1), (p.creation_round), (p.creation_round + 1)) AS rounds (round),
            LATERAL (
                SELECT customer_id, session_id FROM signing_payment
                WHERE creation_round = round AND recipient_rand_hash = p.rand_hash OFFSET 0
            ) paid,
            LATERAL (
                SELECT * FROM signing_session WHERE customer_id = p.customer AND id = paid.session_id LIMIT 1
            ) s
            WHERE paid.customer_id = p.customer
              AND s.opening_rand_hash = p.rand_hash AND s.opening_digest = p.digest AND s.sequence = 0
              AND s.opened_at > clock_timestamp() - interval '2 minutes'
            ORDER BY s.opened_at DESC LIMIT 1;
            IF FOUND THEN
                results := results || ('{"outcome": "repeat"}'::jsonb || signing_told(held, true));
                CONTINUE;
            END IF;
        ELSIF p.presented IS NOT NULL THEN
            SELECT * INTO held FROM signing_session WHERE customer_id = p.customer AND id = p.session;
            IF NOT FOUND THEN
                results := results || jsonb_build_object('outcome', 'refused', 'code', 'unknown_session');
                CONTINUE;
            ELSIF held.sequence = p.presented + 1 AND held.last_digest = p.digest THEN
                results := results || ('{"outcome": "repeat"}'::jsonb || signing_told(held, true));
                CONTINUE;
            ELSIF held.sender <> p.sender THEN
                results := results || jsonb_build_object('outcome', 'refused', 'code', 'sender_changed');
                CONTINUE;
            END IF;
        END IF;

        counter := newest.last_nonce;
        IF NOT newest.is_own THEN
            SELECT max(paid.first_nonce + paid.tickets - 1) INTO counter
            FROM (VALUES (p.creation_round - 1), (p.creation_round), (p.creation_round + 1)) AS rounds (round),
            LATERAL (
                SELECT first_nonce, tickets FROM signing_payment
                WHERE creation_round = round AND recipient_rand_hash = p.rand_hash AND sender = p.sender
                ORDER BY first_nonce DESC LIMIT 1
            ) paid;
        END IF;
        counter := coalesce(counter, 0);
        IF p.tickets = 0 OR counter >= p.first_nonce
           OR ROW (held.sequence, held.balance_wei, (extract(epoch FROM held.last_update) * 1000000)::bigint)
              IS DISTINCT FROM ROW (p.expected, p.expected_balance, p.expected_at) THEN
            results := results || jsonb_build_object('outcome', 'stale', 'last_nonce', counter);
            IF p.presented IS NOT NULL THEN
                results[cardinality(results)] := results[cardinality(results)]
                    || '{"answer": null, "stored": null}'::jsonb
                    || signing_told(held, held.sequence = p.presented + 1)
                    || jsonb_build_object('digest', encode(held.last_digest, 'hex'));
            END IF;
            CONTINUE;
        END IF;

        clock_us := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
        IF p.at NOT BETWEEN clock_us - 3000000 AND clock_us + 500000 THEN
            results := results || jsonb_build_object('outcome', 'refused', 'code', 'wrong_clock');
            CONTINUE;
        END IF;
        IF has_fresh THEN
            verdict := signing_judge_fresh(
                p.customer, p.recipient, p.cost_wei::numeric, p.rate, p.markup_bps::int, p_rules,
                (p_rules -> 'recipients' -> p.recipient ->> 'room')::bigint
                - coalesce((sent ->> p.recipient)::bigint, 0));
            IF verdict IS NOT NULL THEN
                results := results || (verdict || '{"outcome": "refused", "code": "velocity"}'::jsonb);
                CONTINUE;
            END IF;
        END IF;
        debit := billing_debit(
            p.customer, p.api_key, p.session, p.label, p.kind, p.recipient, p.tickets::int, 'ticket',
            p.billed_units::numeric, p.fee_wei::numeric, p.cost_wei::numeric, p.rate, p.markup_bps::int,
            coalesce((p_rules -> 'recipients' -> p.recipient ->> 'promo')::boolean, false));
        IF debit.refusal IS NOT NULL THEN
            results := results || jsonb_build_object(
                'outcome', 'refused', 'code', debit.refusal, 'detail', debit.detail);
            CONTINUE;
        END IF;

        moment := 'epoch'::timestamptz + p.at * interval '1 microsecond';
        IF p.presented IS NULL THEN
            INSERT INTO signing_session (
                customer_id, id, api_key_id, sender, orchestrator, orchestrator_url, recipient, app, kind,
                manifest_id, sequence, recipient_rand_hash, sender_nonce, balance_wei, initial_price_per_unit,
                initial_pixels_per_unit, opened_at, last_update, opening_digest, opening_rand_hash, last_digest,
                last_answer, client_ip, user_agent, last_client_ip, last_user_agent, gateway_request_id,
                attribution_source
            ) VALUES (
                p.customer, p.session, p.api_key, p.sender, p.orchestrator, p.orchestrator_url, p.recipient, p.app,
                p.kind, p.manifest_id, 0, p.rand_hash, p.first_nonce + p.tickets - 1, p.balance,
                p.price_per_unit, p.pixels_per_unit, moment, moment, p.digest,
                p.rand_hash, p.digest, p.answer,
                p.client_ip::inet, coalesce(p.user_agent, ''), p.client_ip::inet, coalesce(p.user_agent, ''),
                coalesce(p.gateway_request_id, ''), coalesce(p.attribution_source, ''));
        ELSE
            UPDATE signing_session SET
                api_key_id = p.api_key, orchestrator_url = p.orchestrator_url, recipient = p.recipient,
                kind = p.kind, manifest_id = p.manifest_id, sequence = p.expected + 1,
                recipient_rand_hash = p.rand_hash, sender_nonce = p.first_nonce + p.tickets - 1,
                balance_wei = p.balance, last_update = moment, last_digest = p.digest,
                last_answer = p.answer,
                last_client_ip = p.client_ip::inet, last_user_agent = coalesce(p.user_agent, ''),
                gateway_request_id = coalesce(nullif(p.gateway_request_id, ''), held.gateway_request_id),
                attribution_source = coalesce(nullif(p.attribution_source, ''), held.attribution_source)
            WHERE customer_id = p.customer AND id = p.session;
        END IF;
        INSERT INTO signing_payment (
            customer_id, id, session_id, usage_id, sender, recipient, recipient_rand_hash, first_nonce, tickets,
            face_value_wei, win_prob, creation_round, creation_round_block_hash
        ) VALUES (
            p.customer, debit.usage_id, p.session, debit.usage_id, p.sender, p.recipient, p.rand_hash, p.first_nonce,
            p.tickets, p.face_value_wei::numeric, p.win_prob::numeric, p.creation_round, p.creation_round_block_hash);
        IF has_fresh THEN
            sent := sent || jsonb_build_object(p.recipient, coalesce((sent ->> p.recipient)::bigint, 0) + coalesce(
                (signing_count_fresh(ARRAY[p.customer], ARRAY[debit.usage_id]) ->> p.recipient)::bigint, 0));
        END IF;
        results := results || '{"outcome": "committed"}'::jsonb;
        committed := committed + 1;
    END LOOP;
    IF p_rules ? 'has_first' THEN
        INSERT INTO signing_recipientseen (recipient)
        SELECT DISTINCT recipient FROM unnest(p_payments) WITH ORDINALITY AS payments
        WHERE (p_rules -> 'recipients' -> recipient ->> 'first')::boolean AND results[ordinality] ->> 'outcome' = 'committed'
        ORDER BY recipient ON CONFLICT DO NOTHING;
    END IF;
    IF committed > 0 AND committed = place AND NOT has_fresh THEN
        RETURN NULL;
    END IF;
    RETURN jsonb_build_object('results', to_jsonb(results), 'fresh', sent);
END $$;

REVOKE EXECUTE ON FUNCTION
    signing_commit_payments(signing_asked_payment[], jsonb),
    signing_commit_plain_payments(signing_asked_payment[], jsonb, bigint[], boolean),
    signing_count_fresh(bigint[], bigint[]),
    signing_told(signing_session, boolean)
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION signing_commit_payments(signing_asked_payment[], jsonb) TO clearinghouse_signer;
