-- How much fresh money (paid in, and not aged yet) went where, by the hour. What is counted: the charge as the customer
-- pays it, which is never less than what the recipient can redeem for it.
--
-- Of one customer the rows are guarded by the lock of his wallet. Of one recipient each connection of a signer counts in
-- rows of its own, so that no row is shared; their sum is read once a second by each process (fresh_leases.sql).
CREATE TABLE signing_velocity (
    customer_id    bigint NOT NULL,
    recipient      varchar(42) NOT NULL,
    hour           timestamptz NOT NULL,
    fresh_nano_usd bigint NOT NULL CHECK (fresh_nano_usd > 0),
    PRIMARY KEY (customer_id, recipient, hour)
) WITH (fillfactor = 70);
CREATE TABLE signing_recipientvelocity (
    recipient      varchar(42) NOT NULL,
    hour           timestamptz NOT NULL,
    backend        integer NOT NULL,
    fresh_nano_usd bigint NOT NULL CHECK (fresh_nano_usd > 0),
    PRIMARY KEY (recipient, hour, backend)
) WITH (fillfactor = 70);
-- How much fresh money a signer process may send to a recipient until it asks again (fresh_leases.sql).
CREATE TABLE signing_freshlease (
    recipient     varchar(42) NOT NULL,
    process       uuid NOT NULL,
    room_nano_usd bigint NOT NULL CHECK (room_nano_usd >= 0),
    granted_at    timestamptz NOT NULL,
    PRIMARY KEY (recipient, process)
);
CREATE TABLE signing_recipientseen (
    recipient     varchar(42) PRIMARY KEY,
    first_paid_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO signing_recipientseen (recipient, first_paid_at)
SELECT recipient, min(issued_at) FROM signing_payment GROUP BY recipient;
GRANT SELECT ON signing_velocity, signing_recipientvelocity, signing_recipientseen
    TO clearinghouse_web, clearinghouse_worker;
GRANT SELECT ON signing_recipientseen TO clearinghouse_signer;

-- The first hour that still counts: all that left within the last 24 hours stands in it or in a later one. It is made anew
-- in fresh_leases.sql.
CREATE FUNCTION signing_velocity_since(p_now timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT date_trunc('hour', p_now, 'UTC') - interval '24 hours'
$$;

-- Which customers may come near a cap if all they ask for came from fresh money: they are judged one payment at a time.
CREATE FUNCTION signing_near_a_cap(
    p_customers bigint[], p_recipients text[], p_costs_wei numeric[], p_rates bigint[], p_markups_bps int[],
    p_rules jsonb
) RETURNS bigint[] LANGUAGE sql STABLE AS $$
    WITH asked AS MATERIALIZED (
        SELECT customer, recipient, coalesce(billing_price_nano_usd(cost_wei, r.nano_usd_per_eth, markup_bps), 0) AS charge,
               p_rules -> 'recipients' -> recipient AS rule
        FROM unnest(p_customers, p_recipients, p_costs_wei, p_rates, p_markups_bps)
             AS payment (customer, recipient, cost_wei, rate, markup_bps)
        JOIN LATERAL (SELECT 1 FROM billing_wallet WHERE customer_id = customer AND fresh_nano_usd > 0 LIMIT 1) w ON true
        LEFT JOIN LATERAL (SELECT nano_usd_per_eth FROM billing_ethusdrate WHERE id = rate LIMIT 1) r ON true
    ), full_recipients AS (
        SELECT recipient FROM asked GROUP BY recipient, rule
        HAVING sum(charge) > coalesce((rule ->> 'room')::bigint, 0)
    ), pairs AS (
        SELECT customer, recipient, rule, sum(charge) AS charge FROM asked GROUP BY customer, recipient, rule
    )
    SELECT coalesce(array_agg(DISTINCT customer), '{}') FROM (
        SELECT customer FROM asked WHERE recipient IN (SELECT recipient FROM full_recipients)
        UNION ALL
        SELECT pairs.customer FROM pairs, LATERAL (
            SELECT coalesce(sum(fresh_nano_usd), 0) AS spent FROM signing_velocity v
            WHERE v.customer_id = pairs.customer AND v.recipient = pairs.recipient
              AND v.hour >= signing_velocity_since(clock_timestamp())) sent
        WHERE rule ->> 'pair_cap' IS NOT NULL AND spent + charge > (rule ->> 'pair_cap')::bigint
        UNION ALL
        SELECT totals.customer FROM (SELECT customer, sum(charge) AS charge FROM pairs GROUP BY customer) totals,
            LATERAL (SELECT coalesce(sum(fresh_nano_usd), 0) AS spent FROM signing_velocity v
                     WHERE v.customer_id = totals.customer
                       AND v.hour >= signing_velocity_since(clock_timestamp())) sent
        WHERE spent + charge > coalesce((p_rules ->> 'customer_cap')::bigint, 0)
    ) near
$$;

-- Judges one payment of a customer whose wallet is locked. NULL: it may be made. Else {"cap": which, "needed": its fresh
-- part}, and of the caps of a customer and a pair {"most", "spent": nano-dollars, "since": Unix seconds of the first hour
-- that counts} as well.
CREATE FUNCTION signing_judge_fresh(
    p_customer bigint, p_recipient text, p_cost_wei numeric, p_rate bigint, p_markup_bps int, p_rules jsonb,
    p_room bigint
) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    rule jsonb := p_rules -> 'recipients' -> p_recipient;
    part bigint := billing_fresh_part(
        p_customer, p_cost_wei, p_rate, p_markup_bps, coalesce((rule ->> 'promo')::boolean, false));
    sent record;
BEGIN
    IF coalesce(part, 0) = 0 THEN
        RETURN NULL;
    END IF;
    SELECT coalesce(sum(fresh_nano_usd), 0)::bigint AS of_all,
           coalesce(sum(fresh_nano_usd) FILTER (WHERE recipient = p_recipient), 0)::bigint AS of_pair,
           min(hour) AS all_since, min(hour) FILTER (WHERE recipient = p_recipient) AS pair_since
    INTO sent FROM signing_velocity
    WHERE customer_id = p_customer AND hour >= signing_velocity_since(clock_timestamp());
    RETURN CASE
        WHEN sent.of_all + part > coalesce((p_rules ->> 'customer_cap')::bigint, 0) THEN jsonb_build_object(
            'cap', 'customer', 'most', coalesce((p_rules ->> 'customer_cap')::bigint, 0), 'spent', sent.of_all,
            'since', extract(epoch FROM sent.all_since)::bigint)
        WHEN sent.of_pair + part > (rule ->> 'pair_cap')::bigint THEN jsonb_build_object(
            'cap', 'pair', 'most', (rule ->> 'pair_cap')::bigint, 'spent', sent.of_pair,
            'since', extract(epoch FROM sent.pair_since)::bigint)
        WHEN part > coalesce(p_room, 0) THEN jsonb_build_object('cap', 'recipient')
    END || jsonb_build_object('needed', part);
END $$;

-- Forgets what counts no longer.
CREATE FUNCTION signing_forget_velocity() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH leases AS (
        DELETE FROM signing_freshlease WHERE granted_at < clock_timestamp() - interval '1 hour'
    ), pairs AS (
        DELETE FROM signing_velocity WHERE hour < clock_timestamp() - interval '8 days' RETURNING 1
    ), recipients AS (
        DELETE FROM signing_recipientvelocity WHERE hour < clock_timestamp() - interval '8 days' RETURNING 1
    )
    SELECT (SELECT count(*) FROM pairs) + (SELECT count(*) FROM recipients)
$$;

REVOKE EXECUTE ON FUNCTION
    signing_velocity_since(timestamptz),
    signing_near_a_cap(bigint[], text[], numeric[], bigint[], int[], jsonb),
    signing_judge_fresh(bigint, text, numeric, bigint, int, jsonb, bigint),
    signing_forget_velocity()
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION signing_forget_velocity() TO clearinghouse_worker;
