"""Our copy of the movements of our balance at the provider, and which journals tell of them.

A movement is explained once the journals that name its subject move account 1100 by exactly what the provider says.
"""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from django.db import connection, transaction
from django.utils import timezone

from billing import ledger, postings, stripe_gateway
from billing.models import BalanceTransaction
from billing.money import NANO_USD_PER_CENT

log = logging.getLogger(__name__)

# Journals on account 1100 that tell of no movement yet, with the movement they name. A reference is
# `stripe:<id>` or `stripe:<id>:<what>`, where the id is a movement's, its source's or its payment's.
_LINK = """
    WITH loose AS (
        SELECT DISTINCT journal_id AS id, split_part(reference, ':', 2) AS named
        FROM billing_loosemove WHERE reference LIKE 'stripe:%'
    ), linked AS (
        INSERT INTO billing_providerjournal (journal_id, movement_id)
        SELECT loose.id, found.id FROM loose JOIN LATERAL (
            SELECT id, 0 AS rank, created_at FROM billing_balancetransaction WHERE id = named
            UNION ALL
            SELECT id, 1, created_at FROM billing_balancetransaction WHERE subject = named
            UNION ALL
            SELECT id, 2, created_at FROM billing_balancetransaction
            WHERE payment_intent_id = named AND reporting_category = 'charge'
            ORDER BY 2, 3 LIMIT 1
        ) found ON true
        ON CONFLICT DO NOTHING RETURNING movement_id
    )
    UPDATE billing_balancetransaction SET explained_at = NULL
    WHERE subject IN (SELECT b.subject FROM linked JOIN billing_balancetransaction b ON b.id = linked.movement_id)
      AND explained_at IS NOT NULL"""

# What the net of a foreign movement is worth in the books: at the rate of its top-up, or what its payout took along.
_VALUE = """
    UPDATE billing_balancetransaction b SET value_nano_usd = found.value FROM (
        SELECT m.id, m.net_cents * r.nano_usd_per_cent AS value
        FROM billing_balancetransaction m
        JOIN billing_topup t ON t.payment_intent_id = m.payment_intent_id AND t.currency = m.currency
        JOIN billing_fxrate r ON r.id = t.fx_rate_id
        WHERE m.value_nano_usd IS NULL AND m.payment_intent_id <> ''
        UNION ALL
        SELECT m.id, CASE WHEN m.net_cents < 0 THEN -p.value_nano_usd ELSE p.value_nano_usd END
        FROM billing_balancetransaction m JOIN billing_payout p ON p.id = m.subject
        WHERE m.value_nano_usd IS NULL AND p.value_nano_usd IS NOT NULL
    ) found WHERE found.id = b.id"""

# Subjects whose movements and journals come to the same, with something that was not explained before. What belongs to
# a subject is fetched by keys, subject by subject: a poll may bring thousands of rows that no statistics tell of yet,
# and of a join of sums the planner then makes loops within loops.
_EXPLAIN = """
    WITH open AS MATERIALIZED (
        SELECT DISTINCT subject FROM billing_balancetransaction WHERE explained_at IS NULL
    ), settled AS MATERIALIZED (
        SELECT subject FROM open CROSS JOIN LATERAL (
            SELECT sum(b.value_nano_usd) AS nano_usd, bool_and(b.value_nano_usd IS NOT NULL) AS known
            FROM billing_balancetransaction b WHERE b.subject = open.subject
        ) worth CROSS JOIN LATERAL (
            SELECT sum(CASE WHEN d.number = 1100 THEN t.amount_nano_usd ELSE 0 END
                     - CASE WHEN c.number = 1100 THEN t.amount_nano_usd ELSE 0 END) AS nano_usd
            FROM billing_balancetransaction b
            JOIN billing_providerjournal p ON p.movement_id = b.id
            JOIN billing_transfer t ON t.journal_id = p.journal_id AND t.amount_nano_usd IS NOT NULL
            JOIN billing_ledgeraccount d ON d.id = t.debit_id
            JOIN billing_ledgeraccount c ON c.id = t.credit_id
            WHERE b.subject = open.subject AND 1100 IN (d.number, c.number)
        ) booked WHERE known AND worth.nano_usd = booked.nano_usd
    )
    UPDATE billing_balancetransaction SET explained_at = clock_timestamp()
    WHERE explained_at IS NULL AND subject = ANY (ARRAY(SELECT subject FROM settled))"""

# Fees of the account itself, such as a monthly one, that nobody else books.
_OWN_FEES = ("fee", "network_cost")


def keep(movements: Iterable[stripe_gateway.Movement]) -> int:
    """Mirrors movements; returns how many were new. One that is known stays as it is."""
    rows = [_row(movement) for movement in movements]
    known = set(BalanceTransaction.objects.filter(id__in=[row.id for row in rows]).values_list("id", flat=True))
    new = [row for row in rows if row.id not in known]
    BalanceTransaction.objects.bulk_create(new, ignore_conflicts=True)
    return len(new)


def explain() -> int:
    """Finds the journals of every movement and marks what they explain; returns how many are explained now."""
    _book_own_fees()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('billing_explain_movements'))")
        cursor.execute(_VALUE)
        cursor.execute(_LINK)
        cursor.execute(_EXPLAIN)
        return int(cursor.rowcount)


def _row(movement: stripe_gateway.Movement) -> BalanceTransaction:
    in_dollars = movement.currency == "usd"
    return BalanceTransaction(
        id=movement.id,
        amount_cents=movement.amount_cents,
        fee_cents=movement.fee_cents,
        net_cents=movement.net_cents,
        currency=movement.currency,
        type=movement.type,
        reporting_category=movement.reporting_category,
        description=movement.description,
        subject=movement.source_id or movement.id,
        source_id=movement.source_id,
        charge_id=movement.charge_id,
        payment_intent_id=movement.payment_intent_id,
        provider_customer_id=movement.customer_id,
        created_at=datetime.fromtimestamp(movement.created, UTC),
        available_at=datetime.fromtimestamp(movement.available_on, UTC),
        value_nano_usd=movement.net_cents * NANO_USD_PER_CENT if in_dollars else None,
    )


def _book_own_fees() -> None:
    fees = BalanceTransaction.objects.filter(
        explained_at=None, reporting_category__in=_OWN_FEES, currency="usd", net_cents__lt=0, journals=None
    )
    for fee in fees.order_by("created_at")[:500]:
        ledger.book(
            kind="provider_fee",
            reference=f"stripe:{fee.id}",
            occurred_at=timezone.now(),
            transfers=postings.provider_fee(fee_nano_usd=-fee.net_cents * NANO_USD_PER_CENT),
            description=f"Fee of the account: {fee.description}"[:200],
        )
