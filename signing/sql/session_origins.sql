-- Where sessions come from, first and last, and what their gateways call the work.
ALTER TABLE signing_session
    ADD COLUMN client_ip inet,
    ADD COLUMN user_agent varchar(200) NOT NULL DEFAULT '',
    ADD COLUMN last_client_ip inet,
    ADD COLUMN last_user_agent varchar(200) NOT NULL DEFAULT '',
    ADD COLUMN gateway_request_id varchar(128) NOT NULL DEFAULT '',
    ADD COLUMN attribution_source varchar(64) NOT NULL DEFAULT '';
