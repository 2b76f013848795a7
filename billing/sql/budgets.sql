-- Spending limits. Their counters advance inside the debit, guarded by the lock of the wallet, which also tells whether
-- there are any: who has none pays nothing for them.

CREATE OR REPLACE FUNCTION billing_period_start(p_period text, p_at timestamptz) RETURNS date
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE p_period
        WHEN 'day' THEN (p_at AT TIME ZONE 'UTC')::date
        WHEN 'month' THEN date_trunc('month', p_at AT TIME ZONE 'UTC')::date
        ELSE date '1970-01-01'
    END
$$;

-- Which budget stands in the way and when it starts again, in plain words.
CREATE OR REPLACE FUNCTION billing_budget_words(p_api_key bigint, p_period text, p_limit bigint, p_at timestamptz)
RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT format(
        'the budget of this %s ($%s %s) leaves too little for this payment',
        CASE WHEN p_api_key IS NULL THEN 'account' ELSE 'API key' END,
        to_char(p_limit / 1e9::numeric, 'FM999,999,999,990.009999999'),
        CASE p_period WHEN 'total' THEN 'in all' ELSE 'a ' || p_period END
    ) || CASE p_period
        WHEN 'total' THEN ''
        ELSE to_char(
            (billing_period_start(p_period, p_at) + ('1 ' || p_period)::interval),
            '"; it starts again on "YYYY-MM-DD" at 00:00 UTC"')
    END
$$;

-- Sets a limit for an account, or for one of its keys; one that stood for the same period is lifted.
CREATE OR REPLACE FUNCTION billing_set_budget(
    p_customer bigint, p_api_key bigint, p_period text, p_limit_nano_usd bigint, p_user bigint
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    made bigint;
    start date;
BEGIN
    IF p_api_key IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM accounts_apikey WHERE id = p_api_key AND customer_id = p_customer
    ) THEN
        RAISE EXCEPTION 'key % is not of customer %', p_api_key, p_customer USING ERRCODE = 'check_violation';
    END IF;
    INSERT INTO billing_wallet (customer_id, available_nano_usd) VALUES (p_customer, 0)
    ON CONFLICT (customer_id) DO NOTHING;
    PERFORM 1 FROM billing_wallet WHERE customer_id = p_customer FOR NO KEY UPDATE;
    UPDATE billing_budget SET lifted_at = clock_timestamp(), lifted_by_id = p_user
    WHERE customer_id = p_customer AND api_key_id IS NOT DISTINCT FROM p_api_key AND period = p_period
      AND lifted_at IS NULL;
    start := billing_period_start(p_period, clock_timestamp());
    INSERT INTO billing_budget (
        customer_id, api_key_id, period, limit_nano_usd, period_start, spent_nano_usd, set_by_id)
    SELECT p_customer, p_api_key, p_period, p_limit_nano_usd, start, coalesce(sum(charge_nano_usd), 0), p_user
    FROM billing_usage_by_day
    WHERE customer_id = p_customer AND day >= start AND (p_api_key IS NULL OR api_key_id = p_api_key)
    RETURNING id INTO made;
    UPDATE billing_wallet SET has_budgets = true WHERE customer_id = p_customer;
    RETURN made;
END $$;

-- Lifts a limit, once; returns whether this call did.
CREATE OR REPLACE FUNCTION billing_lift_budget(p_customer bigint, p_budget bigint, p_user bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    lifted boolean;
BEGIN
    PERFORM 1 FROM billing_wallet WHERE customer_id = p_customer FOR NO KEY UPDATE;
    UPDATE billing_budget SET lifted_at = clock_timestamp(), lifted_by_id = p_user
    WHERE id = p_budget AND customer_id = p_customer AND lifted_at IS NULL;
    lifted := FOUND;
    UPDATE billing_wallet SET has_budgets = EXISTS (
        SELECT 1 FROM billing_budget WHERE customer_id = p_customer AND lifted_at IS NULL)
    WHERE customer_id = p_customer;
    RETURN lifted;
END $$;

-- A budget counts while it stands, is lifted once, and is kept.
CREATE OR REPLACE FUNCTION billing_keep_budget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a budget only counts and is lifted once: % refused', TG_OP
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE OR REPLACE TRIGGER only_counts BEFORE UPDATE ON billing_budget FOR EACH ROW WHEN (
    OLD.lifted_at IS NOT NULL
    OR ROW (OLD.id, OLD.customer_id, OLD.api_key_id, OLD.period, OLD.limit_nano_usd, OLD.set_by_id, OLD.set_at)
    IS DISTINCT FROM
       ROW (NEW.id, NEW.customer_id, NEW.api_key_id, NEW.period, NEW.limit_nano_usd, NEW.set_by_id, NEW.set_at)
) EXECUTE FUNCTION billing_keep_budget();
CREATE OR REPLACE TRIGGER never_deleted BEFORE DELETE ON billing_budget
    FOR EACH ROW EXECUTE FUNCTION billing_keep_budget();

REVOKE EXECUTE ON FUNCTION
    billing_period_start(text, timestamptz),
    billing_budget_words(bigint, text, bigint, timestamptz),
    billing_set_budget(bigint, bigint, text, bigint, bigint),
    billing_lift_budget(bigint, bigint, bigint),
    billing_keep_budget()
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    billing_set_budget(bigint, bigint, text, bigint, bigint), billing_lift_budget(bigint, bigint, bigint)
TO clearinghouse_web;
GRANT SELECT ON billing_budget TO clearinghouse_web, clearinghouse_worker;
