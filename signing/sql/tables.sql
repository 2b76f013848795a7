-- The signer's own rows: sessions, issued payments and the nonce counters.
-- Whose a session and a payment is, the row in billing_usage that is written with them checks: once is enough.
CREATE TABLE signing_session (
    customer_id             bigint NOT NULL,
    id                      uuid NOT NULL,
    api_key_id              bigint NOT NULL,
    sender                  varchar(42) NOT NULL,
    orchestrator            varchar(42) NOT NULL,
    orchestrator_url        varchar(300) NOT NULL,
    recipient               varchar(42) NOT NULL,
    app                     varchar(256) NOT NULL,
    kind                    varchar(20) NOT NULL,
    manifest_id             varchar(128) NOT NULL,
    sequence                bigint NOT NULL,
    recipient_rand_hash     bytea NOT NULL,
    sender_nonce            bigint NOT NULL,
    balance_wei             text NOT NULL,
    initial_price_per_unit  bigint NOT NULL,
    initial_pixels_per_unit bigint NOT NULL,
    opened_at               timestamptz NOT NULL,
    last_update             timestamptz NOT NULL,
    opening_digest          bytea NOT NULL,
    opening_rand_hash       bytea NOT NULL,
    last_digest             bytea NOT NULL,
    last_answer             bytea NOT NULL,
    PRIMARY KEY (customer_id, id)
-- Signatures and hashes hardly shrink: what is kept of an answer stays in its row as it is, uncompressed.
) WITH (fillfactor = 70, toast_tuple_target = 4080);
CREATE INDEX session_by_time ON signing_session (customer_id, opened_at DESC);
CREATE INDEX session_by_opening ON signing_session (customer_id, opening_rand_hash, opening_digest);

-- One counter per sender key and recipient rand hash: a sender nonce is never issued twice.
CREATE TABLE signing_nonce (
    sender              varchar(42) NOT NULL,
    recipient_rand_hash bytea NOT NULL,
    last_nonce          bigint NOT NULL CHECK (last_nonce BETWEEN 0 AND 4294967295),
    touched_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (sender, recipient_rand_hash)
) WITH (fillfactor = 70);

CREATE SEQUENCE signing_payment_id;
CREATE TABLE signing_payment (
    customer_id               bigint NOT NULL,
    id                        bigint NOT NULL DEFAULT nextval('signing_payment_id'),
    session_id                uuid NOT NULL,
    usage_id                  bigint NOT NULL,
    sender                    varchar(42) NOT NULL,
    recipient                 varchar(42) NOT NULL,
    recipient_rand_hash       bytea NOT NULL,
    first_nonce               bigint NOT NULL,
    tickets                   integer NOT NULL CHECK (tickets BETWEEN 1 AND 100),
    face_value_wei            numeric(78, 0) NOT NULL,
    win_prob                  numeric(78, 0) NOT NULL,
    creation_round            bigint NOT NULL,
    creation_round_block_hash bytea NOT NULL,
    issued_at                 timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (customer_id, id)
);
CREATE INDEX payment_by_rand_hash ON signing_payment (recipient_rand_hash, first_nonce);
CREATE INDEX payment_by_session ON signing_payment (customer_id, session_id);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON signing_payment
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON signing_payment EXECUTE FUNCTION billing_refuse_change();

-- The web writes down what staff wish for; everything the chain made of it is written by the treasury worker.
CREATE FUNCTION signing_check_wish() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF current_user = 'clearinghouse_web' AND (
        NEW.status <> 'requested' OR NEW.from_address <> '' OR NEW.nonce IS NOT NULL
        OR NEW.raw_transaction IS NOT NULL OR NEW.tx_hash <> '' OR NEW.block_number IS NOT NULL
    ) THEN
        RAISE EXCEPTION 'a funding request starts as a request' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER wish_only BEFORE INSERT ON signing_treasurytransaction
    FOR EACH ROW EXECUTE FUNCTION signing_check_wish();
