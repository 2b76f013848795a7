-- Money into and out of wallets, other than usage. Every wallet is the sum of its grants less usage that waits for the
-- poster; each function here locks the wallet first, posts what waits, and then changes wallet and grants alike.
-- Locks are taken in one order: rows of the caller, the wallet, then posting of its customer.

-- Locks a wallet until the end of the transaction and brings its grants up to date.
CREATE OR REPLACE FUNCTION billing_settle(p_customer bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO billing_wallet (customer_id, available_nano_usd) VALUES (p_customer, 0)
    ON CONFLICT (customer_id) DO NOTHING;
    PERFORM 1 FROM billing_wallet WHERE customer_id = p_customer FOR NO KEY UPDATE;
    PERFORM billing_post_customer(p_customer, NULL);
END $$;

-- Draws an amount from a customer's grants of one kind: aged money before fresh, then by priority, earliest expiry, age.
-- p_is_fresh narrows it to one side of the age; the grant named by p_first goes before all others.
-- Returns how much of it was fresh. The caller holds the lock of posting.
CREATE OR REPLACE FUNCTION billing_draw(
    p_customer bigint, p_journal bigint, p_amount bigint, p_kind text, p_is_fresh boolean, p_first text
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    drawn_sum bigint;
    fresh_sum bigint;
BEGIN
    IF p_amount = 0 THEN
        RETURN 0;
    END IF;
    WITH lined_up AS (
        SELECT id, is_fresh, remaining_nano_usd AS remaining, sum(remaining_nano_usd) OVER (
            ORDER BY reference = p_first DESC, is_fresh, priority, expires_at NULLS LAST, aged_at, id) AS upto
        FROM billing_grant
        WHERE customer_id = p_customer AND remaining_nano_usd > 0 AND kind = p_kind
          AND is_fresh = coalesce(p_is_fresh, is_fresh)
    ), drawn AS (
        SELECT id, is_fresh, least(remaining, p_amount - (upto - remaining))::bigint AS part
        FROM lined_up WHERE upto - remaining < p_amount
    ), noted AS (
        INSERT INTO billing_grantuse (grant_id, journal_id, amount_nano_usd) SELECT id, p_journal, part FROM drawn
    ), used AS (
        UPDATE billing_grant g SET remaining_nano_usd = remaining_nano_usd - part FROM drawn WHERE g.id = drawn.id
    )
    SELECT sum(part), coalesce(sum(part) FILTER (WHERE is_fresh), 0) INTO drawn_sum, fresh_sum FROM drawn;
    IF drawn_sum IS DISTINCT FROM p_amount THEN
        RAISE EXCEPTION 'the % grants of customer % hold % of %', p_kind, p_customer, coalesce(drawn_sum, 0), p_amount
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN fresh_sum;
END $$;

-- What a journal's transfers add to what we owe a customer: to paid money (2100) or promotional credit (9210).
CREATE OR REPLACE FUNCTION billing_owed_by(p_transfers jsonb, p_number text, p_customer bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(sum(CASE
        WHEN leg #>> '{credit,0}' = p_number AND leg #>> '{credit,1}' = p_customer::text THEN (leg ->> 'amount')::bigint
        WHEN leg #>> '{debit,0}' = p_number AND leg #>> '{debit,1}' = p_customer::text THEN -(leg ->> 'amount')::bigint
    END), 0)::bigint FROM jsonb_array_elements(p_transfers) AS leg
$$;

-- Books a journal and adds its amount to a wallet, once per reference; what the customer owes is paid from it first.
-- Money with a p_aged_at in the future is fresh until then. Returns the journal's id or NULL (booked before).
CREATE OR REPLACE FUNCTION billing_credit(
    p_customer bigint, p_amount_nano_usd bigint, p_kind text, p_reference text, p_occurred_at timestamptz,
    p_description text, p_transfers jsonb, p_aged_at timestamptz DEFAULT NULL, p_expires_at timestamptz DEFAULT NULL
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    journal bigint;
    repayment bigint;
    owed bigint;
    fresh boolean := coalesce(p_aged_at > clock_timestamp(), false);
BEGIN
    IF p_amount_nano_usd <= 0 OR billing_owed_by(p_transfers, '2100', p_customer) <> p_amount_nano_usd THEN
        RAISE EXCEPTION 'a credit is positive, and what its journal adds to 2100' USING ERRCODE = 'check_violation';
    END IF;
    PERFORM billing_settle(p_customer);
    journal := billing_book(p_kind, p_reference, p_occurred_at, p_description, p_customer, p_transfers);
    IF journal IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO billing_walletentry (customer_id, kind, amount_nano_usd, reference, description, journal_id)
    VALUES (p_customer, p_kind, p_amount_nano_usd, p_reference, p_description, journal);
    INSERT INTO billing_grant (
        customer_id, kind, amount_nano_usd, remaining_nano_usd, priority, campaign, reference, aged_at, is_fresh,
        expires_at)
    VALUES (p_customer, 'paid', p_amount_nano_usd, p_amount_nano_usd, 100, '', p_reference,
            coalesce(p_aged_at, clock_timestamp()), fresh, p_expires_at);
    UPDATE billing_wallet SET
        available_nano_usd = available_nano_usd + p_amount_nano_usd,
        fresh_nano_usd = fresh_nano_usd + CASE WHEN fresh THEN p_amount_nano_usd ELSE 0 END,
        updated_at = clock_timestamp()
    WHERE customer_id = p_customer RETURNING debt_nano_usd INTO owed;
    owed := least(owed, p_amount_nano_usd);
    IF owed > 0 THEN
        repayment := billing_book(
            'debt_repayment', p_reference || ':debt', p_occurred_at, 'Paid what was owed', p_customer,
            jsonb_build_array(jsonb_build_object(
                'debit', jsonb_build_array(2100, p_customer::text), 'credit', jsonb_build_array(1160, p_customer::text),
                'asset', 'USD', 'amount', owed::text)));
        INSERT INTO billing_walletentry (customer_id, kind, amount_nano_usd, reference, description, journal_id)
        VALUES (p_customer, 'debt_repayment', -owed, p_reference || ':debt', 'Paid what was owed', repayment);
        PERFORM billing_draw(p_customer, repayment, owed, 'paid', fresh, p_reference);
        UPDATE billing_wallet SET
            available_nano_usd = available_nano_usd - owed,
            fresh_nano_usd = fresh_nano_usd - CASE WHEN fresh THEN owed ELSE 0 END
        WHERE customer_id = p_customer;
    END IF;
    RETURN journal;
END $$;

-- Takes paid money out of a wallet for another purpose than usage, once per reference: from the grant p_from first,
-- then aged money before fresh. is_enough is false, and nothing changed, when less is there.
CREATE OR REPLACE FUNCTION billing_take(
    p_customer bigint, p_amount_nano_usd bigint, p_kind text, p_reference text, p_occurred_at timestamptz,
    p_description text, p_transfers jsonb, p_from text, OUT journal bigint, OUT is_enough boolean
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    paid bigint;
    fresh bigint;
BEGIN
    IF p_amount_nano_usd <= 0 OR billing_owed_by(p_transfers, '2100', p_customer) <> -p_amount_nano_usd THEN
        RAISE EXCEPTION 'what is taken is positive, and what its journal takes from 2100'
            USING ERRCODE = 'check_violation';
    END IF;
    is_enough := true;
    PERFORM billing_settle(p_customer);
    IF EXISTS (SELECT 1 FROM billing_journal WHERE reference = p_reference) THEN
        RETURN;
    END IF;
    SELECT available_nano_usd - promo_nano_usd INTO paid FROM billing_wallet WHERE customer_id = p_customer;
    IF paid < p_amount_nano_usd THEN
        is_enough := false;
        RETURN;
    END IF;
    journal := billing_book(p_kind, p_reference, p_occurred_at, p_description, p_customer, p_transfers);
    IF journal IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO billing_walletentry (customer_id, kind, amount_nano_usd, reference, description, journal_id)
    VALUES (p_customer, p_kind, -p_amount_nano_usd, p_reference, p_description, journal);
    fresh := billing_draw(p_customer, journal, p_amount_nano_usd, 'paid', NULL, p_from);
    UPDATE billing_wallet SET
        available_nano_usd = available_nano_usd - p_amount_nano_usd, fresh_nano_usd = fresh_nano_usd - fresh,
        updated_at = clock_timestamp()
    WHERE customer_id = p_customer;
END $$;

-- Gives promotional credit, once per reference. Nothing was received, so only the memo accounts move:
-- Dr 9200 campaign / Cr 9210 customer. Returns the journal's id or NULL (booked before).
CREATE OR REPLACE FUNCTION billing_grant_promo(
    p_customer bigint, p_amount_nano_usd bigint, p_reference text, p_occurred_at timestamptz, p_description text,
    p_campaign text, p_priority int, p_expires_at timestamptz
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    journal bigint;
BEGIN
    PERFORM billing_settle(p_customer);
    journal := billing_book('grant', p_reference, p_occurred_at, p_description, p_customer,
        jsonb_build_array(jsonb_build_object(
            'debit', jsonb_build_array(9200, p_campaign), 'credit', jsonb_build_array(9210, p_customer::text),
            'asset', 'USD', 'amount', p_amount_nano_usd::text)));
    IF journal IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO billing_walletentry (customer_id, kind, amount_nano_usd, reference, description, journal_id)
    VALUES (p_customer, 'grant', p_amount_nano_usd, p_reference, p_description, journal);
    INSERT INTO billing_grant (
        customer_id, kind, amount_nano_usd, remaining_nano_usd, priority, campaign, reference, aged_at, is_fresh,
        expires_at)
    VALUES (p_customer, 'promo', p_amount_nano_usd, p_amount_nano_usd, p_priority, p_campaign, p_reference,
            clock_timestamp(), false, p_expires_at);
    UPDATE billing_wallet SET
        available_nano_usd = available_nano_usd + p_amount_nano_usd,
        promo_nano_usd = promo_nano_usd + p_amount_nano_usd, updated_at = clock_timestamp()
    WHERE customer_id = p_customer;
    RETURN journal;
END $$;

-- Ends what is left of a customer's grants whose time is over; returns how many ended.
-- Promotional credit: Dr 9210 customer / Cr 9200 campaign, no revenue. Paid credit: Dr 2100 customer / Cr 4100.
CREATE OR REPLACE FUNCTION billing_expire_grants(p_customer bigint) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    ended record;
    journal bigint;
    fresh bigint;
    is_promo boolean;
    done int := 0;
BEGIN
    PERFORM billing_settle(p_customer);
    FOR ended IN
        SELECT * FROM billing_grant
        WHERE customer_id = p_customer AND remaining_nano_usd > 0 AND expires_at <= clock_timestamp() ORDER BY id
    LOOP
        is_promo := ended.kind = 'promo';
        journal := billing_book(
            CASE WHEN is_promo THEN 'grant_expired' ELSE 'credit_expired' END, ended.reference || ':expired',
            ended.expires_at, '', p_customer, jsonb_build_array(jsonb_build_object(
                'debit', jsonb_build_array(CASE WHEN is_promo THEN 9210 ELSE 2100 END, p_customer::text),
                'credit', CASE WHEN is_promo THEN jsonb_build_array(9200, ended.campaign)
                               ELSE jsonb_build_array(4100, '') END,
                'asset', 'USD', 'amount', ended.remaining_nano_usd::text)));
        INSERT INTO billing_walletentry (customer_id, kind, amount_nano_usd, reference, description, journal_id)
        SELECT p_customer, kind, -ended.remaining_nano_usd, reference, '', id FROM billing_journal WHERE id = journal;
        fresh := billing_draw(p_customer, journal, ended.remaining_nano_usd, ended.kind, ended.is_fresh, ended.reference);
        UPDATE billing_wallet SET
            available_nano_usd = available_nano_usd - ended.remaining_nano_usd,
            promo_nano_usd = promo_nano_usd - CASE WHEN is_promo THEN ended.remaining_nano_usd ELSE 0 END,
            fresh_nano_usd = fresh_nano_usd - fresh, updated_at = clock_timestamp()
        WHERE customer_id = p_customer;
        done := done + 1;
    END LOOP;
    RETURN done;
END $$;

-- Money whose time has come is fresh no longer; returns how many grants aged.
CREATE OR REPLACE FUNCTION billing_age_grants(p_customer bigint) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    done int;
BEGIN
    PERFORM billing_settle(p_customer);
    WITH aged AS (
        UPDATE billing_grant SET is_fresh = false
        WHERE customer_id = p_customer AND is_fresh AND aged_at <= clock_timestamp() RETURNING remaining_nano_usd
    ), counted AS (
        SELECT count(*) AS grants, coalesce(sum(remaining_nano_usd), 0) AS amount FROM aged
    ), known AS (
        UPDATE billing_wallet SET fresh_nano_usd = fresh_nano_usd - amount, updated_at = clock_timestamp()
        FROM counted WHERE customer_id = p_customer AND amount > 0
    )
    SELECT grants INTO done FROM counted;
    RETURN done;
END $$;

-- Locks a wallet until the end of the caller's transaction and tells what it holds, in nano-dollars.
CREATE OR REPLACE FUNCTION billing_lock_wallet(
    p_customer bigint, OUT available bigint, OUT promo bigint, OUT fresh bigint, OUT debt bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO billing_wallet (customer_id, available_nano_usd) VALUES (p_customer, 0)
    ON CONFLICT (customer_id) DO NOTHING;
    SELECT available_nano_usd, promo_nano_usd, fresh_nano_usd, debt_nano_usd INTO available, promo, fresh, debt
    FROM billing_wallet WHERE customer_id = p_customer FOR NO KEY UPDATE;
END $$;

REVOKE EXECUTE ON FUNCTION
    billing_settle(bigint),
    billing_draw(bigint, bigint, bigint, text, boolean, text),
    billing_owed_by(jsonb, text, bigint),
    billing_credit(bigint, bigint, text, text, timestamptz, text, jsonb, timestamptz, timestamptz),
    billing_take(bigint, bigint, text, text, timestamptz, text, jsonb, text),
    billing_grant_promo(bigint, bigint, text, timestamptz, text, text, int, timestamptz),
    billing_expire_grants(bigint),
    billing_age_grants(bigint),
    billing_lock_wallet(bigint)
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    billing_credit(bigint, bigint, text, text, timestamptz, text, jsonb, timestamptz, timestamptz),
    billing_take(bigint, bigint, text, text, timestamptz, text, jsonb, text),
    billing_grant_promo(bigint, bigint, text, timestamptz, text, text, int, timestamptz),
    billing_expire_grants(bigint),
    billing_age_grants(bigint),
    billing_lock_wallet(bigint)
TO clearinghouse_worker;
