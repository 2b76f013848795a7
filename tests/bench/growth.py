"""A database that has been in use: log files written before, and years of payments in a minute."""

from django.db import connection

from tests.asked_payments import Account
from tests.held_chain import ROUND

_CUSTOMERS = 200
_SECONDS_A_ROUND = 69_120
_ROWS_TO_WEAR_IN = 400_000


def wear_in() -> None:
    """Lets PostgreSQL write its log into files that it used before, as it does from its second checkpoint on.

    In a new cluster every file of 16 MB is made and filled with zeros while commits wait, and what is written into it
    first takes the disk several times as long.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE bench_worn AS SELECT n, repeat('x', 1000) AS text FROM generate_series(1, %s) n",
            [_ROWS_TO_WEAR_IN],
        )
        cursor.execute("DROP TABLE bench_worn")
        cursor.execute("CHECKPOINT")


def grow(rows: int, *, days: float) -> None:
    """Writes that many usage rows of the last `days`, each with its payment, posted, and lets PostgreSQL know of them.

    Tickets name the round in which they were paid.
    """
    accounts = [Account(0) for _ in range(_CUSTOMERS)]
    each = -(-rows // _CUSTOMERS)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO billing_journal (kind, reference, occurred_at, description)"
            " VALUES ('usage', 'bench:growth', now(), 'growth') RETURNING id"
        )
        (journal,) = cursor.fetchone()
        cursor.execute("ALTER TABLE billing_usage DISABLE TRIGGER USER")
        for account in accounts:
            cursor.execute(_USAGE, [account.owner.pk, account.key.pk, days / each, account.rate, journal, each])
            cursor.execute(_PAYMENTS, [ROUND, _SECONDS_A_ROUND, account.owner.pk])
        cursor.execute("ALTER TABLE billing_usage ENABLE TRIGGER USER")
        for table in ("billing_usage", "signing_payment"):
            cursor.execute(f"VACUUM ANALYZE {table}")
        cursor.execute("CHECKPOINT")


_USAGE = """
    INSERT INTO billing_usage (customer_id, api_key_id, at, source, label, kind, counterparty, quantity, unit,
        billed_units, fee_wei, cost_wei, cost_nano_usd, charge_nano_usd, markup_bps, rate_id, journal_id)
    SELECT %s, %s, now() - n * %s * interval '1 day', gen_random_uuid(), 'live-video', 'live', '0x' || repeat('0c', 20),
        1, 'ticket', 10, 1000000000000, 1000000000000, 3000000, 3450000, 1500, %s, %s
    FROM generate_series(1, %s) n
"""
_PAYMENTS = """
    INSERT INTO signing_payment (customer_id, id, session_id, usage_id, sender, recipient, recipient_rand_hash,
        first_nonce, tickets, face_value_wei, win_prob, creation_round, creation_round_block_hash)
    SELECT customer_id, id, source, id, '0x' || repeat('ab', 20), counterparty, sha256(source::text::bytea), 1, 1,
        1000000000000000, 2::numeric ^ 246, %s - floor(extract(epoch FROM now() - at) / %s), sha256('round')
    FROM billing_usage WHERE customer_id = %s
"""
