-- The poster: turns usage that no journal covers yet into journals and draws it from grants.

-- Posts up to p_limit waiting rows of one customer (all when NULL), one journal per UTC day, in the order of booking:
-- Dr 2100 customer / Cr 4000 what was paid; Dr 4900 campaign / Cr 4000 and Dr 9210 customer / Cr 9200 campaign what
-- came from promotional credit; Dr 5000 / Cr 2300 recipient cost; Dr 9100 / Cr 2300 recipient wei.
-- No grant changes while usage waits, so that the sums of a journal are drawn as single charges would have been.
CREATE OR REPLACE FUNCTION billing_post_customer(p_customer bigint, p_limit int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    batch record;
    journal bigint;
    posted int := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('billing_post_customer', p_customer));
    FOR batch IN
        WITH picked AS (
            SELECT * FROM billing_usage WHERE journal_id IS NULL AND customer_id = p_customer
            ORDER BY customer_id, id LIMIT p_limit
        )
        SELECT min(id) AS first_id, max(at) AS last_at, array_agg(id) AS ids,
               sum(charge_nano_usd)::bigint AS charge, sum(promo_nano_usd)::bigint AS promo,
               sum(fresh_nano_usd)::bigint AS fresh
        FROM picked GROUP BY date_trunc('day', at, 'UTC') ORDER BY first_id
    LOOP
        INSERT INTO billing_journal (kind, reference, occurred_at, description, customer_id)
        VALUES ('usage', 'usage:' || p_customer || ':' || batch.first_id, batch.last_at,
                cardinality(batch.ids) || ' payments', p_customer)
        RETURNING id INTO journal;
        PERFORM billing_draw(p_customer, journal, batch.promo, 'promo', NULL, '');
        PERFORM billing_draw(p_customer, journal, batch.charge - batch.promo - batch.fresh, 'paid', false, '');
        PERFORM billing_draw(p_customer, journal, batch.fresh, 'paid', true, '');
        IF batch.promo > 0 THEN
            INSERT INTO billing_transfer (journal_id, debit_id, credit_id, amount_nano_usd)
            SELECT journal, side.debit, side.credit, campaigns.amount
            FROM (SELECT g.campaign, sum(u.amount_nano_usd) AS amount
                  FROM billing_grantuse u JOIN billing_grant g ON g.id = u.grant_id
                  WHERE u.journal_id = journal AND g.kind = 'promo' GROUP BY g.campaign ORDER BY g.campaign) campaigns,
                 LATERAL (VALUES
                    (billing_account(4900, 'USD', campaigns.campaign), billing_account(4000, 'USD', '')),
                    (billing_account(9210, 'USD', p_customer::text), billing_account(9200, 'USD', campaigns.campaign))
                 ) AS side (debit, credit);
        END IF;
        IF batch.charge > batch.promo THEN
            INSERT INTO billing_transfer (journal_id, debit_id, credit_id, amount_nano_usd)
            VALUES (journal, billing_account(2100, 'USD', p_customer::text), billing_account(4000, 'USD', ''),
                    batch.charge - batch.promo);
        END IF;
        INSERT INTO billing_transfer (journal_id, debit_id, credit_id, amount_nano_usd, amount_wei)
        SELECT journal, billing_account(5000, 'USD', ''), billing_account(2300, 'USD', counterparty),
               sum(cost_nano_usd), NULL::numeric
        FROM billing_usage WHERE customer_id = p_customer AND id = ANY (batch.ids) GROUP BY counterparty
        UNION ALL
        SELECT journal, billing_account(9100, 'ETH', ''), billing_account(2300, 'ETH', counterparty),
               NULL::bigint, sum(cost_wei)
        FROM billing_usage WHERE customer_id = p_customer AND id = ANY (batch.ids) GROUP BY counterparty;
        UPDATE billing_usage SET journal_id = journal WHERE customer_id = p_customer AND id = ANY (batch.ids);
        posted := posted + cardinality(batch.ids);
    END LOOP;
    RETURN posted;
END $$;

-- Posts up to p_limit waiting rows, customer by customer; returns how many.
CREATE OR REPLACE FUNCTION billing_post_usage(p_limit int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    waiting bigint;
    posted int := 0;
BEGIN
    FOR waiting IN
        SELECT DISTINCT customer_id FROM (
            SELECT customer_id FROM billing_usage WHERE journal_id IS NULL ORDER BY customer_id, id LIMIT p_limit
        ) first ORDER BY customer_id
    LOOP
        posted := posted + billing_post_customer(waiting, p_limit - posted);
        EXIT WHEN posted >= p_limit;
    END LOOP;
    RETURN posted;
END $$;

REVOKE EXECUTE ON FUNCTION billing_post_customer(bigint, int), billing_post_usage(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION billing_post_usage(int) TO clearinghouse_worker;
