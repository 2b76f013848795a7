-- Which sender key signs for a customer: decided once, at the first use, and the same for every signer process.
--
-- p_held are the addresses whose keys the asking process holds, lower-case, its default first. A customer who is not
-- pinned yet gets the newest active key among them, or the default while that is not registered. NULL: none of them
-- takes new customers.
CREATE OR REPLACE FUNCTION signing_pin_sender(p_customer bigint, p_held text[]) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    chosen text;
BEGIN
    SELECT address INTO chosen FROM signing_senderpin WHERE customer_id = p_customer;
    IF FOUND THEN
        RETURN chosen;
    END IF;
    SELECT address INTO chosen FROM signing_senderkey
    WHERE active AND address = ANY (p_held) ORDER BY activated_at DESC, id DESC LIMIT 1;
    IF NOT FOUND AND NOT EXISTS (SELECT 1 FROM signing_senderkey WHERE address = p_held[1]) THEN
        chosen := p_held[1];
    END IF;
    IF chosen IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO signing_senderpin (customer_id, address) VALUES (p_customer, chosen)
    ON CONFLICT (customer_id) DO NOTHING;
    -- Another process may have been first.
    SELECT address INTO chosen FROM signing_senderpin WHERE customer_id = p_customer;
    RETURN chosen;
END $$;

REVOKE EXECUTE ON FUNCTION signing_pin_sender(bigint, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION signing_pin_sender(bigint, text[]) TO clearinghouse_signer;
GRANT SELECT ON signing_senderpin TO clearinghouse_signer, clearinghouse_worker, clearinghouse_web;
GRANT SELECT ON signing_senderkey TO clearinghouse_worker, clearinghouse_treasury, clearinghouse_web;
