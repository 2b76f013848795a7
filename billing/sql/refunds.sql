-- Giving back: the one way in which the web may take money out of a wallet, and only towards the cards it came from.

-- What of a top-up a part of its credit brings back of the tax at one place, in minor units: rounded half up over all
-- parts together, so that they add up to the tax exactly once everything is refunded.
CREATE OR REPLACE FUNCTION billing_tax_share(p_tax bigint, p_part bigint, p_whole bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT (2 * p_tax * p_part + p_whole) / (2 * p_whole)
$$;

-- Writes a refund with its parts, the oldest payment first, and moves its amount from 2100 to 2120, all or nothing.
-- Answers requested, known (this id was asked for before), frozen, owes, not_enough or less_refundable. A rest that is
-- smaller than a minor unit of a payment's currency stays in the wallet.
CREATE OR REPLACE FUNCTION billing_request_refund(
    p_id uuid, p_customer bigint, p_amount_nano_usd bigint, p_user bigint, p_reason text
) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    wallet record;
    payment record;
    place record;
    part uuid;
    journal bigint;
    enough boolean;
    left_nano_usd bigint := p_amount_nano_usd;
    finest bigint := 0;
    net bigint;
    tax bigint;
    taxes jsonb;
BEGIN
    IF p_amount_nano_usd <= 0 THEN
        RAISE EXCEPTION 'a refund is positive' USING ERRCODE = 'check_violation';
    END IF;
    SELECT * INTO wallet FROM billing_lock_wallet(p_customer);
    IF EXISTS (SELECT 1 FROM billing_refund WHERE id = p_id) THEN
        RETURN 'known';
    ELSIF (SELECT status <> 'active' FROM accounts_customer WHERE id = p_customer) THEN
        RETURN 'frozen';
    ELSIF wallet.debt > 0 THEN
        RETURN 'owes';
    ELSIF wallet.available - wallet.promo < p_amount_nano_usd THEN
        RETURN 'not_enough';
    ELSIF billing_refundable(p_customer) < p_amount_nano_usd THEN
        RETURN 'less_refundable';
    END IF;
    INSERT INTO billing_refund (id, customer_id, requested_by_id, amount_nano_usd, reason)
    VALUES (p_id, p_customer, p_user, p_amount_nano_usd, p_reason);
    FOR payment IN SELECT * FROM billing_refundable_payments WHERE customer_id = p_customer AND net_left > 0
        ORDER BY settled_at, id
    LOOP
        finest := greatest(finest, payment.nano_usd_per_cent);
        net := least(payment.net_left, left_nano_usd / payment.nano_usd_per_cent);
        CONTINUE WHEN net = 0;
        tax := 0;
        taxes := '{}';
        FOR place IN SELECT key, value::bigint AS cents FROM jsonb_each_text(payment.taxes) LOOP
            taxes := taxes || jsonb_build_object(place.key, greatest(0, billing_tax_share(
                place.cents, payment.net_cents - payment.net_left + net, payment.net_cents
            ) - coalesce((payment.taxes_back ->> place.key)::bigint, 0)));
            tax := tax + (taxes ->> place.key)::bigint;
        END LOOP;
        part := gen_random_uuid();
        INSERT INTO billing_refundpart (
            id, refund_id, top_up_id, currency, net_cents, tax_cents, tax_parts, credit_nano_usd)
        VALUES (part, p_id, payment.id, payment.currency, net, tax, taxes, net * payment.nano_usd_per_cent);
        SELECT t.journal, t.is_enough INTO journal, enough FROM billing_take(
            p_customer, net * payment.nano_usd_per_cent, 'refund', 'refund:' || part, clock_timestamp(),
            rtrim('Refund to ' || payment.card), jsonb_build_array(jsonb_build_object(
                'debit', jsonb_build_array(2100, p_customer::text), 'credit', jsonb_build_array(2120, p_customer::text),
                'asset', 'USD', 'amount', (net * payment.nano_usd_per_cent)::text)),
            'stripe:' || payment.payment_intent_id) t;
        IF journal IS NULL OR NOT enough THEN
            RAISE EXCEPTION 'the wallet of customer % changed under its lock', p_customer
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        left_nano_usd := left_nano_usd - net * payment.nano_usd_per_cent;
    END LOOP;
    IF left_nano_usd = p_amount_nano_usd OR left_nano_usd >= finest THEN
        RAISE EXCEPTION 'the payments of customer % changed under the lock', p_customer
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    UPDATE billing_refund SET amount_nano_usd = p_amount_nano_usd - left_nano_usd WHERE id = p_id;
    RETURN 'requested';
END $$;

-- Each payment by card with what of its credit may still go back to it: nothing of one that is disputed or was lost.
CREATE OR REPLACE VIEW billing_refundable_payments AS
SELECT t.id, t.customer_id, t.settled_at, t.currency, t.card, t.payment_intent_id, t.charge_id, t.net_cents,
       t.tax_cents, coalesce(f.nano_usd_per_cent, 10000000) AS nano_usd_per_cent,
       CASE WHEN t.tax_parts = '{}' THEN jsonb_build_object('', t.tax_cents) ELSE t.tax_parts END AS taxes,
       coalesce(b.taxes, '{}') AS taxes_back,
       CASE WHEN EXISTS (SELECT 1 FROM billing_dispute d WHERE d.top_up_id = t.id AND d.stage IN ('open', 'lost'))
            THEN 0 ELSE t.net_cents - coalesce(b.net, 0) END AS net_left
FROM billing_topup t
LEFT JOIN billing_fxrate f ON f.id = t.fx_rate_id
LEFT JOIN LATERAL (
    SELECT sum(net_cents) AS net, (
        SELECT jsonb_object_agg(key, cents) FROM (
            SELECT key, sum(value::bigint) AS cents
            FROM billing_refundpart x, jsonb_each_text(x.tax_parts)
            WHERE x.top_up_id = t.id AND x.status NOT IN ('failed', 'canceled') GROUP BY key) y
    ) AS taxes
    FROM billing_refundpart p WHERE p.top_up_id = t.id AND p.status NOT IN ('failed', 'canceled')
) b ON true
WHERE t.status = 'paid' AND t.method <> 'bank' AND t.charge_id IS NOT NULL;

-- How much of what a customer paid in could go back to its cards, in nano-dollars; the wallet may hold less.
CREATE OR REPLACE FUNCTION billing_refundable(p_customer bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(net_left * nano_usd_per_cent), 0)::bigint FROM billing_refundable_payments
    WHERE customer_id = p_customer
$$;

-- What was asked for stays as it was asked for; nobody takes a refund back out of the books.
CREATE OR REPLACE FUNCTION billing_keep_refund() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'a refund stays as it was asked for: % refused', TG_OP
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE OR REPLACE TRIGGER never_deleted BEFORE DELETE ON billing_refund
    FOR EACH ROW EXECUTE FUNCTION billing_keep_refund();
CREATE OR REPLACE TRIGGER never_deleted BEFORE DELETE ON billing_refundpart
    FOR EACH ROW EXECUTE FUNCTION billing_keep_refund();
CREATE OR REPLACE TRIGGER as_planned BEFORE UPDATE ON billing_refundpart FOR EACH ROW WHEN (
    OLD.status IN ('failed', 'canceled') AND OLD.status <> NEW.status
    OR ROW (OLD.id, OLD.refund_id, OLD.top_up_id, OLD.currency, OLD.net_cents, OLD.tax_cents, OLD.tax_parts,
            OLD.credit_nano_usd)
       IS DISTINCT FROM
       ROW (NEW.id, NEW.refund_id, NEW.top_up_id, NEW.currency, NEW.net_cents, NEW.tax_cents, NEW.tax_parts,
            NEW.credit_nano_usd)
) EXECUTE FUNCTION billing_keep_refund();

REVOKE EXECUTE ON FUNCTION
    billing_tax_share(bigint, bigint, bigint),
    billing_request_refund(uuid, bigint, bigint, bigint, text),
    billing_refundable(bigint),
    billing_keep_refund()
FROM PUBLIC;
GRANT EXECUTE ON FUNCTION billing_request_refund(uuid, bigint, bigint, bigint, text) TO clearinghouse_web;
GRANT EXECUTE ON FUNCTION billing_refundable(bigint) TO clearinghouse_web, clearinghouse_worker;
GRANT SELECT ON billing_refund, billing_refundpart, billing_refundable_payments, billing_dispute, billing_fraudwarning,
    billing_fraudsignal TO clearinghouse_web, clearinghouse_worker;
-- A wish to stop a refund; the worker obeys it.
GRANT UPDATE (stopped_by_id, stopped_at, stop_reason, approval_id) ON billing_refund TO clearinghouse_web;
GRANT UPDATE (status, approval_id, approved_at, ended_at) ON billing_refund TO clearinghouse_worker;
GRANT UPDATE (status, attempt, provider_id, balance_transaction_id, failure_transaction_id, card_reference, failure,
    sent_at, checked_at, ended_at) ON billing_refundpart TO clearinghouse_worker;
GRANT INSERT ON billing_refund, billing_refundpart, billing_dispute, billing_fraudwarning TO clearinghouse_worker;
GRANT UPDATE ON billing_dispute TO clearinghouse_worker;
GRANT UPDATE (evidence_sent_at, evidence_by_id) ON billing_dispute TO clearinghouse_web;
GRANT INSERT ON billing_fraudsignal TO clearinghouse_web, clearinghouse_worker;
GRANT UPDATE (dismissed_by_id, dismissed_at, dismiss_reason) ON billing_fraudsignal
    TO clearinghouse_web, clearinghouse_worker;
GRANT USAGE ON SEQUENCE billing_fraudsignal_id_seq TO clearinghouse_web, clearinghouse_worker;
GRANT USAGE ON SEQUENCE billing_dispute_id_seq, billing_fraudwarning_id_seq TO clearinghouse_worker;
