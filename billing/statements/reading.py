"""A statement as the database has it in one moment."""

from datetime import UTC, date, datetime
from typing import Any

from django.db import connection
from psycopg import sql

from accounts.models import Customer
from billing import set_aside
from billing.statements.months import next_month
from billing.statements.statement import Entry, Statement, UsageLine


def of_month(customer: Customer, month: date, *, now: datetime) -> Statement:
    """The statement as the database has it in one moment; `month` is the first day of a UTC month."""
    start = datetime(month.year, month.month, 1, tzinfo=UTC)
    after = next_month(month)
    end = datetime(after.year, after.month, 1, tzinfo=UTC)
    values = {
        **set_aside.parameters(customer, end),
        "customer": customer.pk,
        "start": start,
        "end": end,
        "first_day": start.date(),
        "end_day": end.date(),
    }
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL(_ONE_MOMENT).format(beside=sql.SQL(set_aside.SUMS)), values)
        rows = cursor.fetchall()
    sums = {
        what: (int(amount), int(promo)) for what, amount, promo, *_ in rows if what in ("opening", "later", "wallet")
    }
    return Statement(
        customer_id=customer.pk,
        customer_name=customer.name,
        month=start.date(),
        made_at=now,
        opening_nano_usd=sums["opening"][0],
        promo_opening_nano_usd=sums["opening"][1],
        entries=tuple(_entry(row) for row in rows if row[0] == "entry"),
        usage=tuple(_usage_line(row) for row in rows if row[0] == "usage"),
        later_nano_usd=sums["later"][0],
        promo_later_nano_usd=sums["later"][1],
        wallet_nano_usd=sums["wallet"][0],
        promo_wallet_nano_usd=sums["wallet"][1],
        beside=set_aside.of_sums({number: amount for what, amount, number, *_ in rows if what == "beside"}),
    )


def _entry(row: Any) -> Entry:
    _, amount, _, at, kind, description, reference, *_ = row
    return Entry(at=at, kind=kind, description=description, reference=reference, amount_nano_usd=int(amount))


def _usage_line(row: Any) -> UsageLine:
    _, charge, promo, _, kind, label, counterparty, day, key, prefix, payments, quantity, cost_wei, cost_nano_usd = row
    return UsageLine(
        day=day,
        api_key=key,
        api_key_prefix=prefix,
        label=label,
        kind=kind,
        counterparty=counterparty,
        payments=int(payments),
        quantity=int(quantity),
        cost_wei=int(cost_wei),
        cost_nano_usd=int(cost_nano_usd),
        charge_nano_usd=int(charge),
        promo_nano_usd=int(promo),
    )


# One statement of SQL is one snapshot: what is committed meanwhile is either in all of its sums or in none.
_ONE_MOMENT = """
WITH entries AS (
    SELECT *, CASE WHEN kind IN ('grant', 'grant_expired') THEN amount_nano_usd ELSE 0 END AS promo_nano_usd
    FROM billing_walletentry WHERE customer_id = %(customer)s
), lines AS (
    SELECT * FROM billing_usage_by_day WHERE customer_id = %(customer)s
), rows AS (
    SELECT 'opening' AS what,
           coalesce((SELECT sum(amount_nano_usd) FROM entries WHERE created_at < %(start)s), 0)
           - coalesce((SELECT sum(charge_nano_usd) FROM lines WHERE day < %(first_day)s), 0) AS amount,
           coalesce((SELECT sum(promo_nano_usd) FROM entries WHERE created_at < %(start)s), 0)
           - coalesce((SELECT sum(promo_nano_usd) FROM lines WHERE day < %(first_day)s), 0) AS promo,
           NULL::timestamptz AS at, NULL AS kind, NULL AS description, NULL AS reference, NULL::date AS day,
           NULL AS key_name, NULL AS key_prefix, NULL::bigint AS payments, NULL::bigint AS quantity,
           NULL::numeric AS cost_wei, NULL::bigint AS cost_nano_usd
    UNION ALL
    SELECT 'later',
           coalesce((SELECT sum(amount_nano_usd) FROM entries WHERE created_at >= %(end)s), 0)
           - coalesce((SELECT sum(charge_nano_usd) FROM lines WHERE day >= %(end_day)s), 0),
           coalesce((SELECT sum(promo_nano_usd) FROM entries WHERE created_at >= %(end)s), 0)
           - coalesce((SELECT sum(promo_nano_usd) FROM lines WHERE day >= %(end_day)s), 0),
           NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    UNION ALL
    SELECT 'wallet',
           coalesce((SELECT available_nano_usd FROM billing_wallet WHERE customer_id = %(customer)s), 0),
           coalesce((SELECT promo_nano_usd FROM billing_wallet WHERE customer_id = %(customer)s), 0),
           NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    UNION ALL
    SELECT 'beside', amount, number, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM ({beside}) aside
    UNION ALL
    SELECT 'entry', amount_nano_usd, promo_nano_usd, created_at, kind, description, reference,
           NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM entries WHERE created_at >= %(start)s AND created_at < %(end)s
    UNION ALL
    SELECT 'usage', sum(l.charge_nano_usd), sum(l.promo_nano_usd), NULL, l.kind, l.label, l.counterparty, l.day, k.name,
           k.prefix, sum(l.payments), sum(l.quantity), sum(l.cost_wei), sum(l.cost_nano_usd)
    FROM lines l JOIN accounts_apikey k ON k.id = l.api_key_id
    WHERE l.day >= %(first_day)s AND l.day < %(end_day)s
    GROUP BY l.kind, l.label, l.counterparty, l.day, k.id, k.name, k.prefix
)
SELECT * FROM rows ORDER BY at, day, key_name, key_prefix, description, kind, reference
"""
