-- What each service may touch. Money tables are read-only to all four; their writers are functions.
-- Nobody but the owner makes tables here, not even temporary ones.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
DO $$ BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END $$;
GRANT USAGE ON SCHEMA public TO clearinghouse_web, clearinghouse_signer, clearinghouse_worker, clearinghouse_treasury;

-- web: people, keys, their sessions at the web site, wishes (top-ups, treasury requests) and the inbox; reads the rest.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO clearinghouse_web;
GRANT SELECT, INSERT, UPDATE, DELETE ON
    accounts_user, accounts_user_groups, accounts_user_user_permissions, auth_group, auth_group_permissions,
    django_session, django_admin_log, account_emailaddress, account_emailconfirmation, mfa_authenticator
TO clearinghouse_web;
GRANT INSERT ON accounts_customer, accounts_membership, accounts_apikey, accounts_auditentry,
    billing_topup, billing_stripeevent, signing_treasurytransaction, signing_recipient TO clearinghouse_web;
GRANT UPDATE (name) ON accounts_customer TO clearinghouse_web;
GRANT UPDATE (name, revoked_at, revoked_by_id, last_used_at) ON accounts_apikey TO clearinghouse_web;
GRANT UPDATE (role) ON accounts_membership TO clearinghouse_web;
GRANT UPDATE (status, checkout_session_id, checkout_url, failure) ON billing_topup TO clearinghouse_web;
GRANT UPDATE (label, standing, reason, changed_by_id, changed_at) ON signing_recipient TO clearinghouse_web;

-- signer: reads keys and limits, commits payments through its one function.
GRANT SELECT ON accounts_apikey, accounts_customer, billing_wallet, billing_ethusdrate, signing_session,
    signing_nonce, signing_recipient, signing_chainsnapshot TO clearinghouse_signer;
GRANT UPDATE (last_used_at) ON accounts_apikey TO clearinghouse_signer;

-- worker: settles top-ups, posts usage, books chain events, all through ledger functions (granted beside them).
GRANT SELECT ON ALL TABLES IN SCHEMA public TO clearinghouse_worker;
GRANT UPDATE ON billing_topup, billing_stripeevent, signing_chainevent, signing_redemption, signing_chaincursor
    TO clearinghouse_worker;
GRANT UPDATE (gas_journal_id) ON signing_treasurytransaction TO clearinghouse_worker;
GRANT INSERT ON billing_stripeevent, signing_chainevent, signing_redemption, signing_chaincursor, signing_chainsnapshot,
    accounts_auditentry TO clearinghouse_worker;
GRANT DELETE ON signing_chainevent, signing_redemption, signing_chainsnapshot TO clearinghouse_worker;

-- treasury: executes what staff asked for on the chain; it books nothing.
GRANT SELECT ON signing_treasurytransaction, signing_chainsnapshot TO clearinghouse_treasury;
GRANT UPDATE (status, from_address, nonce, raw_transaction, tx_hash, block_number, gas_cost_wei, error, updated_at)
    ON signing_treasurytransaction TO clearinghouse_treasury;

GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO clearinghouse_web, clearinghouse_worker;
