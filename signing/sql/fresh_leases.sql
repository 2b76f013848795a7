-- The room of signer processes for fresh money to a recipient: leases of what all of them may send (tables: velocity.sql).

-- The first hour that still counts: all that left within the last 24 hours stands in it or in a later one. What is
-- counted in an hour may be done a few seconds later.
CREATE OR REPLACE FUNCTION signing_velocity_since(p_now timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT date_trunc('hour', p_now - interval '5 seconds', 'UTC') - interval '24 hours'
$$;

-- Of a lease that its process did not ask anew: what was being committed when it ended was done once every transaction
-- before this number is.
ALTER TABLE signing_freshlease ADD COLUMN IF NOT EXISTS settled_by bigint;

-- Gives a signer process room for fresh money to recipients until it asks again, and tells how things stand.
--
-- p_wanted: {recipient: {"cap", "new_cap", "held"} in nano-dollars; "new_cap" counts for those first paid after p_season
-- began; "held" is what the process may still send, or have sent without knowing, by what it was given before.
-- What all signers sent within 24 hours, and what others were given and may have sent since, is never given again: all
-- rooms and all that was sent are never more than the cap together. A process may use its room for 5 seconds. It counts
-- for 15, in which no commit begins any more, and then for as long as a commit runs that began before.
CREATE OR REPLACE FUNCTION signing_lease_fresh(p_process uuid, p_wanted jsonb, p_season interval)
RETURNS TABLE (recipient text, room bigint, most bigint, spent bigint, since bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    wanted record;
    others record;
BEGIN
    -- One at a time. Whoever waited sees what was given before: each statement below looks anew.
    PERFORM pg_advisory_xact_lock(hashtext('signing_lease_fresh'));
    FOR wanted IN SELECT key, value FROM jsonb_each(p_wanted) ORDER BY key LOOP
        recipient := wanted.key;
        SELECT CASE WHEN EXISTS (SELECT 1 FROM signing_recipientseen s
                                 WHERE s.recipient = wanted.key AND s.first_paid_at <= clock_timestamp() - p_season)
                    THEN (wanted.value ->> 'cap')::bigint ELSE (wanted.value ->> 'new_cap')::bigint END INTO most;
        UPDATE signing_freshlease l SET settled_by = pg_current_xact_id()::text::bigint
        WHERE l.recipient = wanted.key AND l.settled_by IS NULL
          AND l.granted_at <= clock_timestamp() - interval '15 seconds';
        SELECT coalesce(sum(l.room_nano_usd), 0) AS given, count(*) AS processes INTO others
        FROM signing_freshlease l
        WHERE l.recipient = wanted.key AND l.process <> p_process
          AND (l.settled_by IS NULL OR l.settled_by > pg_snapshot_xmin(pg_current_snapshot())::text::bigint);
        -- What was sent is looked up after what was given: between the two it can only be counted twice.
        SELECT coalesce(sum(v.fresh_nano_usd), 0)::bigint, extract(epoch FROM min(v.hour))::bigint INTO spent, since
        FROM signing_recipientvelocity v
        WHERE v.recipient = wanted.key AND v.hour >= signing_velocity_since(clock_timestamp());
        room := greatest(0, least(most - spent - others.given, (most - spent) / (others.processes + 1)));
        INSERT INTO signing_freshlease AS l (recipient, process, room_nano_usd, granted_at)
        VALUES (wanted.key, p_process, greatest(room, (wanted.value ->> 'held')::bigint), clock_timestamp())
        ON CONFLICT ON CONSTRAINT signing_freshlease_pkey DO UPDATE
            SET room_nano_usd = excluded.room_nano_usd, granted_at = excluded.granted_at, settled_by = NULL;
        RETURN NEXT;
    END LOOP;
END $$;

REVOKE EXECUTE ON FUNCTION signing_velocity_since(timestamptz), signing_lease_fresh(uuid, jsonb, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION signing_lease_fresh(uuid, jsonb, interval) TO clearinghouse_signer;
