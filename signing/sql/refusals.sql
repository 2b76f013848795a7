-- What signers refused customers: one row for each customer and code, however many there were.
CREATE FUNCTION signing_note_refusals(p_refusals jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO signing_refusal AS r (customer_id, code, message, count, since, last_at)
    SELECT customer, left(code, 60), left(message, 400), count, clock_timestamp(), clock_timestamp()
    FROM jsonb_to_recordset(p_refusals) AS refused (customer bigint, code text, message text, count bigint)
    ORDER BY customer, code
    ON CONFLICT (customer_id, code) DO UPDATE SET
        message = excluded.message, last_at = excluded.last_at,
        count = excluded.count + CASE WHEN r.last_at > excluded.last_at - interval '1 day' THEN r.count ELSE 0 END,
        since = CASE WHEN r.last_at > excluded.last_at - interval '1 day' THEN r.since ELSE excluded.since END
$$;
REVOKE EXECUTE ON FUNCTION signing_note_refusals(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION signing_note_refusals(jsonb) TO clearinghouse_signer;
GRANT SELECT ON signing_refusal TO clearinghouse_web, clearinghouse_worker;
