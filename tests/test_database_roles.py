"""Each service's database role was tried against what it must not do."""

from collections.abc import Iterator

import psycopg
import pytest
from django.db import connection

from tests import builders

FORBIDDEN = {
    "web": [
        # The web can neither credit nor debit nor book, nor touch what the books hold.
        "SELECT billing_credit(1, 5, 'top_up', 'x', now(), '', '[]')",
        "SELECT billing_book('x', 'x', now(), '', NULL, '[]')",
        "SELECT billing_debit(1, 1, gen_random_uuid(), '', '', '', 1, '', 1, 1, 1, 1, 1)",
        "SELECT billing_take(1, 5, 'refund', 'x', now(), '', '[]', '')",
        "SELECT billing_grant_promo(1, 5, 'x', now(), '', 'launch', 50, NULL)",
        "SELECT billing_lock_wallet(1)",
        "UPDATE billing_budget SET limit_nano_usd = 1",
        "SELECT billing_settle(1)",
        "SELECT billing_draw(1, 1, 1, 'paid', NULL, '')",
        "SELECT billing_expire_grants(1)",
        "SELECT billing_age_grants(1)",
        "SELECT billing_post_customer(1, 1)",
        "INSERT INTO billing_grant (customer_id) VALUES (1)",
        "UPDATE billing_grant SET remaining_nano_usd = amount_nano_usd",
        "DELETE FROM billing_grantuse",
        "SELECT billing_post_usage(10)",
        "SELECT billing_record_rate('0x', 1, 1, now())",
        "SELECT signing_commit_payments('{}')",
        "SELECT signing_pin_sender(1, '{0x}')",
        "INSERT INTO signing_senderkey (address, label, active) VALUES ('0x', '', false)",
        "UPDATE signing_senderpin SET address = '0x'",
        "UPDATE billing_wallet SET available_nano_usd = 10",
        "INSERT INTO billing_wallet (customer_id, available_nano_usd) VALUES (1, 1)",
        "INSERT INTO billing_walletentry (customer_id, kind, amount_nano_usd, reference) VALUES (1, 'top_up', 1, 'x')",
        "DELETE FROM billing_journal",
        "UPDATE billing_journal SET description = 'x'",
        "INSERT INTO billing_journal (kind, reference, occurred_at) VALUES ('x', 'x', now())",
        "DELETE FROM billing_transfer",
        "TRUNCATE billing_journal CASCADE",
        "UPDATE billing_usage SET charge_nano_usd = 1",
        "INSERT INTO billing_usage (customer_id) VALUES (1)",
        "UPDATE billing_topup SET amount_cents = 100000",
        "UPDATE billing_topup SET payment_intent_id = 'pi_mine'",
        "DELETE FROM billing_topup",
        "UPDATE signing_session SET balance_wei = '1'",
        "UPDATE signing_nonce SET last_nonce = 0",
        "DELETE FROM signing_payment",
        "UPDATE signing_treasurytransaction SET status = 'confirmed'",
        "UPDATE accounts_apikey SET secret_sha256 = ''",
        "DELETE FROM accounts_auditentry",
        "UPDATE accounts_auditentry SET action = 'x'",
        # What needs a second person, it can neither write nor decide nor do by itself.
        "INSERT INTO billing_markup (reason) VALUES ('x')",
        "INSERT INTO accounts_user_groups (user_id, group_id) VALUES (1, 1)",
        "INSERT INTO accounts_user_user_permissions (user_id, permission_id) VALUES (1, 1)",
        "INSERT INTO auth_group (name) VALUES ('mine')",
        "UPDATE auth_group SET name = 'admin'",
        "UPDATE accounts_approval SET status = 'done', done_at = now()",
        "UPDATE accounts_approval SET status = 'approved'",
        "DELETE FROM accounts_approval",
        "INSERT INTO billing_balancetransaction (id) VALUES ('txn_1')",
        "UPDATE billing_balancetransaction SET explained_at = now()",
        "UPDATE billing_stripeevent SET handled_at = now()",
        "UPDATE billing_payout SET status = 'paid'",
        "UPDATE billing_bankline SET journal_id = 1",
        "UPDATE billing_bankline SET amount_cents = 100",
        "DELETE FROM billing_bankline",
        "ALTER TABLE billing_journal DISABLE TRIGGER ALL",
        "UPDATE billing_document SET total_cents = 1",
        "UPDATE billing_legalentity SET name = 'x'",
        "INSERT INTO billing_documentfile (document_id, content, sha256) VALUES (1, '', '')",
        "INSERT INTO billing_documentcounter (entity_id, kind, year, last) VALUES (1, 'receipt', 2026, 1)",
        "SET ROLE clearinghouse_worker",
        # It asks for refunds by its one function; it neither makes them nor says what became of them.
        "SELECT billing_take(1, 5, 'refund', 'x', now(), '', '[]', '')",
        "INSERT INTO billing_refund (customer_id, amount_nano_usd) VALUES (1, 1)",
        "UPDATE billing_refund SET approved_at = now()",
        "UPDATE billing_refund SET status = 'done'",
        "UPDATE billing_refundpart SET status = 'planned'",
        "UPDATE billing_dispute SET stage = 'won'",
        "DELETE FROM billing_fraudsignal",
        # An account is frozen and thawed by placing and lifting holds, never by hand.
        "UPDATE accounts_customer SET status = 'active'",
        "INSERT INTO accounts_hold (customer_id, code, reference, reason) VALUES (1, 'staff', 'x', 'x')",
        "UPDATE accounts_notice SET sent_at = now()",
        "INSERT INTO billing_fxrate (currency, nano_usd_per_cent, source) VALUES ('eur', 1, 'x')",
        "UPDATE accounts_hold SET lifted_at = now()",
        # A table of its own named like one of the books, or a trigger of the books on a table of its own.
        "CREATE TEMP TABLE billing_usageday (customer_id bigint)",
        "CREATE TABLE mine (customer_id bigint)",
        "CREATE TRIGGER mine AFTER UPDATE ON django_session REFERENCING NEW TABLE AS posted"
        " FOR EACH STATEMENT EXECUTE FUNCTION billing_add_day_totals()",
    ],
    "signer": [
        # The signer spends only through its own function.
        "SELECT billing_credit(1, 5, 'top_up', 'x', now(), '', '[]')",
        "SELECT billing_book('x', 'x', now(), '', NULL, '[]')",
        "SELECT billing_debit(1, 1, gen_random_uuid(), '', '', '', 1, '', 1, 1, 1, 1, 1)",
        "SELECT billing_take(1, 5, 'refund', 'x', now(), '', '[]', '')",
        "SELECT billing_grant_promo(1, 5, 'x', now(), '', 'launch', 50, NULL)",
        "SELECT billing_lock_wallet(1)",
        "SELECT * FROM billing_grant",
        "SELECT billing_set_budget(1, NULL, 'day', 1, 1)",
        "UPDATE billing_budget SET lifted_at = now()",
        "SELECT billing_post_usage(10)",
        "UPDATE billing_wallet SET available_nano_usd = 10",
        "INSERT INTO billing_usage (customer_id) VALUES (1)",
        "DELETE FROM billing_journal",
        "UPDATE signing_nonce SET last_nonce = 0",
        "UPDATE signing_senderpin SET address = '0x'",
        "UPDATE signing_senderkey SET active = true",
        "UPDATE signing_session SET sequence = 0",
        "INSERT INTO signing_payment (customer_id) VALUES (1)",
        "INSERT INTO accounts_apikey (name) VALUES ('x')",
        "UPDATE accounts_apikey SET revoked_at = NULL",
        "SELECT password FROM accounts_user",
        "SELECT * FROM django_session",
        "SELECT * FROM billing_stripeevent",
        "CREATE TEMP TABLE billing_wallet (customer_id bigint)",
    ],
    "worker": [
        # The worker books through functions and never edits what stands.
        "SELECT billing_debit(1, 1, gen_random_uuid(), '', '', '', 1, '', 1, 1, 1, 1, 1)",
        "SELECT signing_commit_payments('{}')",
        "UPDATE billing_wallet SET available_nano_usd = 10",
        "UPDATE billing_grant SET remaining_nano_usd = 0",
        "SELECT billing_draw(1, 1, 1, 'paid', NULL, '')",
        "DELETE FROM billing_journal",
        "INSERT INTO billing_transfer (amount_nano_usd) VALUES (1)",
        "UPDATE billing_usage SET journal_id = NULL",
        # It carries out what was decided and decides nothing.
        "UPDATE accounts_approval SET decided_by_id = 1",
        "INSERT INTO accounts_approval (kind) VALUES ('x')",
        "SELECT accounts_decide_approval(1, 1, true, '')",
        "INSERT INTO accounts_apikey (name) VALUES ('x')",
        "INSERT INTO billing_bankline (reference) VALUES ('x')",
        "UPDATE billing_bankline SET amount_cents = 100",
        "UPDATE billing_balancetransaction SET net_cents = 100",
        "DELETE FROM billing_balancetransaction",
        "UPDATE billing_tieout SET net_cents = 0",
        "UPDATE accounts_customer SET status = 'active'",
        "UPDATE accounts_hold SET lifted_at = now()",
        "UPDATE accounts_notice SET letter = '{}'",
        "DELETE FROM accounts_notice",
        "SELECT accounts_close_customer(1, false)",
        "UPDATE billing_document SET total_cents = 1",
        "DELETE FROM billing_documentcounter",
        "INSERT INTO signing_treasurytransaction (kind) VALUES ('fund')",
        "UPDATE signing_treasurytransaction SET deposit_wei = 1",
        "UPDATE signing_treasurytransaction SET sender = '0x'",
        "CREATE TEMP TABLE billing_wallet (customer_id bigint)",
    ],
    "treasury": [
        # The treasury sends what staff asked for and touches nothing else.
        "SELECT billing_credit(1, 5, 'top_up', 'x', now(), '', '[]')",
        "SELECT billing_book('x', 'x', now(), '', NULL, '[]')",
        "SELECT signing_commit_payments('{}')",
        "SELECT available_nano_usd FROM billing_wallet",
        "INSERT INTO signing_treasurytransaction (kind) VALUES ('fund')",
        "UPDATE signing_treasurytransaction SET deposit_wei = 1",
        "DELETE FROM signing_treasurytransaction",
        "SELECT secret_sha256 FROM accounts_apikey",
        "SELECT password FROM accounts_user",
    ],
}
ALLOWED = {
    "web": [
        "SELECT available_nano_usd FROM billing_wallet",
        "SELECT billing_set_budget((SELECT min(id) FROM accounts_customer), NULL, 'day', 1, (SELECT min(id) FROM"
        " accounts_user))",
        "SELECT billing_lift_budget(1, 1, 1)",
        "SELECT * FROM billing_usage",
        "SELECT * FROM signing_payment",
        "SELECT accounts_lift_hold(0, 'x', NULL)",
        "UPDATE accounts_invitation SET withdrawn_at = now()",
        "DELETE FROM accounts_membership WHERE id = 0",
        "SELECT billing_refundable(0)",
        "SELECT * FROM billing_refundable_payments",
    ],
    "signer": ["SELECT billing_record_rate('0x01', 7, 3000000000000, now())", "SELECT signing_commit_payments('{}')"],
    "worker": [
        "SELECT billing_post_usage(10)",
        "SELECT * FROM billing_account_balance",
        "SELECT accounts_lift_hold(0, 'x', NULL)",
        "UPDATE billing_refundpart SET checked_at = NULL",
        "UPDATE accounts_notice SET not_before = now(), attempts = 0, error = '', sent_at = NULL",
        "UPDATE billing_fraudsignal SET dismissed_at = NULL",
        "INSERT INTO billing_fraudcheck (reference) VALUES ('x')",
        "SELECT * FROM billing_billingprofile, accounts_termsacceptance, accounts_membership",
        "SELECT billing_lock_wallet((SELECT min(id) FROM accounts_customer))",
        "SELECT billing_grant_promo((SELECT min(id) FROM accounts_customer), 5, 'x', now(), '', 'launch', 50, NULL)",
        "SELECT billing_take((SELECT min(id) FROM accounts_customer), 5, 'refund', 'y', now(), '', jsonb_build_array("
        "jsonb_build_object('debit', jsonb_build_array(2100, (SELECT min(id) FROM accounts_customer)::text), 'credit',"
        " '[1100, \"\"]'::jsonb, 'asset', 'USD', 'amount', '5')), '')",
        "SELECT billing_expire_grants((SELECT min(id) FROM accounts_customer))",
        "SELECT billing_age_grants((SELECT min(id) FROM accounts_customer))",
    ],
    "treasury": ["SELECT * FROM signing_treasurytransaction"],
}
SERVICES = list(FORBIDDEN)


@pytest.fixture
def roles(django_db_blocker: object, transactional_db: None) -> Iterator[dict[str, psycopg.Connection]]:
    """A connection as each service's role, as `manage.py service_roles` would let it log in."""
    builders.top_up(builders.customer(), 10)
    parameters = connection.get_connection_params()
    opened = {}
    for service in SERVICES:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER ROLE clearinghouse_{service} LOGIN PASSWORD 'only-for-this-test'")
        opened[service] = psycopg.connect(
            host=parameters["host"],
            port=parameters["port"],
            dbname=parameters["dbname"],
            user=f"clearinghouse_{service}",
            password="only-for-this-test",
            autocommit=True,
        )
    yield opened
    for open_connection in opened.values():
        open_connection.close()


def test_every_role_is_refused_what_is_not_its_business(roles: dict[str, psycopg.Connection]) -> None:
    tried = 0
    for service, statements in FORBIDDEN.items():
        for statement in statements:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):  # noqa: PT012
                print(service, statement)
                roles[service].execute(statement)
            tried += 1
    assert tried == sum(map(len, FORBIDDEN.values())) > 60


def test_the_web_can_only_wish_for_a_funding(roles: dict[str, psycopg.Connection]) -> None:
    staff = builders.user().pk
    wish = (
        "INSERT INTO signing_treasurytransaction"
        " (id, kind, sender, deposit_wei, reserve_wei, requested_by_id, status, from_address, nonce, tx_hash, error)"
        " VALUES (gen_random_uuid(), 'fund', '0x', 1, 0, %s, %s, '', %s, '', '')"
    )
    for status, nonce in (("signed", None), ("confirmed", None), ("requested", 7)):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="starts as a request"):
            roles["web"].execute(wish, [staff, status, nonce])
    roles["web"].execute(wish, [staff, "requested", None])


def test_the_web_raises_the_ceiling_of_a_key_for_the_key_s_own_people_alone(
    roles: dict[str, psycopg.Connection],
) -> None:
    owner, staff = builders.customer(), builders.staff("admin").pk
    key, own = builders.api_key(owner).pk, owner.members.get().pk
    ceiling = (
        "INSERT INTO signing_priceceiling"
        " (scope, model, unit, per_units, api_key_id, limit_nano_usd, made_by_id, valid_from)"
        " VALUES ('api_key', '', 'job', 1, %s, %s, %s, statement_timestamp() + %s * interval '1 day')"
    )
    for limit, maker, days in ((100, staff, 0), (99, staff, 0), (500, own, 0), (None, own, 0), (500, own, 0)):
        roles["web"].execute(ceiling, [key, limit, maker, days])
    stranger = builders.customer().members.get().pk
    for limit, maker, days in ((501, staff, 0), (None, staff, 0), (1, staff, 1), (501, stranger, 0)):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="a second person approves this ceiling"):
            roles["web"].execute(ceiling, [key, limit, maker, days])
    roles["worker"].execute(ceiling, [key, 501, staff, 0])


def test_every_role_can_do_its_own_work(roles: dict[str, psycopg.Connection]) -> None:
    for service, statements in ALLOWED.items():
        for statement in statements:
            roles[service].execute(statement)


def test_functions_with_the_owner_s_rights_cannot_be_led_astray(db: None) -> None:
    """Each looks into a caller's temporary tables last, and nobody may execute one unless it was granted."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname, proconfig, EXISTS (SELECT 1 FROM aclexplode(coalesce(proacl, acldefault('f', proowner)))"
            " WHERE grantee = 0) FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
        )
        found = {name: (config, is_public) for name, config, is_public in cursor.fetchall()}
    assert {
        "billing_credit",
        "billing_add_day_totals",
        "signing_commit_payments",
        "accounts_decide_approval",
    } <= found.keys()
    assert {(config[0], is_public) for config, is_public in found.values()} == {("search_path=public, pg_temp", False)}
