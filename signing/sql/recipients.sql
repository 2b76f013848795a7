-- Rules about recipients: written by staff through the web, by the worker for lost disputes, obeyed by signers.
GRANT SELECT, INSERT ON signing_recipientrule TO clearinghouse_web, clearinghouse_worker;
GRANT UPDATE (lifted_by_id, lifted_at, lift_reason) ON signing_recipientrule
    TO clearinghouse_web, clearinghouse_worker;
GRANT SELECT ON signing_recipientrule TO clearinghouse_signer;
GRANT SELECT, INSERT ON signing_lostdispute TO clearinghouse_worker;
GRANT SELECT ON signing_lostdispute TO clearinghouse_web;
GRANT USAGE ON SEQUENCE signing_recipientrule_id_seq TO clearinghouse_web, clearinghouse_worker;

CREATE FUNCTION signing_keep_rule() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a rule is lifted once and kept: % refused', TG_OP USING ERRCODE = 'integrity_constraint_violation';
END $$;
REVOKE EXECUTE ON FUNCTION signing_keep_rule() FROM PUBLIC;
CREATE TRIGGER lifted_once BEFORE UPDATE ON signing_recipientrule FOR EACH ROW WHEN (
    OLD.lifted_at IS NOT NULL OR NEW.lifted_at IS NULL
    OR ROW (OLD.id, OLD.address, OLD.standing, OLD.label, OLD.reason, OLD.reference, OLD.set_by_id, OLD.set_at)
       IS DISTINCT FROM
       ROW (NEW.id, NEW.address, NEW.standing, NEW.label, NEW.reason, NEW.reference, NEW.set_by_id, NEW.set_at)
) EXECUTE FUNCTION signing_keep_rule();
CREATE TRIGGER never_deleted BEFORE DELETE ON signing_recipientrule
    FOR EACH ROW EXECUTE FUNCTION signing_keep_rule();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON signing_lostdispute
    FOR EACH ROW EXECUTE FUNCTION signing_keep_rule();

-- What stood on the list that could be changed in place.
INSERT INTO signing_recipientrule (address, standing, label, reason, reference, set_by_id, set_at, lift_reason)
SELECT lower(address), CASE standing WHEN 'listed' THEN 'listed' ELSE 'frozen' END, label,
       coalesce(nullif(reason, ''), 'Taken over from the list before'), '', changed_by_id, changed_at, ''
FROM signing_recipient WHERE lower(address) ~ '^0x[0-9a-f]{40}$'
ON CONFLICT DO NOTHING;
REVOKE ALL ON signing_recipient FROM clearinghouse_web, clearinghouse_worker, clearinghouse_signer;
GRANT SELECT ON signing_recipient TO clearinghouse_web, clearinghouse_worker, clearinghouse_signer;
COMMENT ON TABLE signing_recipient IS 'Superseded by signing_recipientrule, which took its rows over; nothing reads it.';
