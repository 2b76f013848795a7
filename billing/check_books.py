"""What must hold in the books at any moment: one query per invariant, each giving a number that must be 0."""

from django.db import connection, transaction

# Each query counts violations or sums absolute differences in nano-dollars or wei.
# Accounts: 1160 customer receivable, 2100 customers' prepaid balances, 2300 accrued tickets, 4000 usage revenue,
# 4900 promotional credit applied, 9210 promotional credit outstanding (the chart is in postings).
INVARIANTS: dict[str, str] = {
    # Every debit has its credit: a transfer has both by construction, so the whole adds up to nothing.
    "usd_out_of_balance_nano_usd": "SELECT sum(balance) FROM billing_account_balance WHERE asset = 'USD'",
    "eth_out_of_balance_wei": "SELECT sum(balance) FROM billing_account_balance WHERE asset = 'ETH'",
    "transfers_between_assets": """
        SELECT count(*) FROM billing_transfer t
        JOIN billing_ledgeraccount d ON d.id = t.debit_id JOIN billing_ledgeraccount c ON c.id = t.credit_id
        WHERE d.asset <> c.asset OR (d.asset = 'ETH') <> (t.amount_wei IS NOT NULL)""",
    "journals_without_transfers": """
        SELECT count(*) FROM billing_journal j
        WHERE NOT EXISTS (SELECT 1 FROM billing_transfer t WHERE t.journal_id = j.id)""",
    # A wallet is exactly what was credited less what was charged.
    "wallets_differ_from_entries_and_usage_nano_usd": """
        SELECT sum(abs(coalesce(w.available_nano_usd, 0) - coalesce(e.total, 0) + coalesce(u.total, 0)))
        FROM accounts_customer c
        LEFT JOIN billing_wallet w ON w.customer_id = c.id
        LEFT JOIN (SELECT customer_id, sum(amount_nano_usd) AS total FROM billing_walletentry
                   GROUP BY customer_id) e ON e.customer_id = c.id
        LEFT JOIN (SELECT customer_id, sum(charge_nano_usd) AS total FROM billing_usage
                   GROUP BY customer_id) u ON u.customer_id = c.id""",
    "wallets_below_zero": "SELECT count(*) FROM billing_wallet WHERE available_nano_usd < 0",
    # What the books owe each customer is its wallet, once usage that waits for the poster is taken into account.
    "wallets_differ_from_account_2100_nano_usd": """
        SELECT sum(abs(coalesce(w.available_nano_usd - w.promo_nano_usd, 0) + coalesce(b.balance, 0)
                       + coalesce(u.waiting, 0)))
        FROM accounts_customer c
        LEFT JOIN billing_wallet w ON w.customer_id = c.id
        LEFT JOIN billing_account_balance b
            ON b.number = 2100 AND b.asset = 'USD' AND b.party = c.id::text
        LEFT JOIN (SELECT customer_id, sum(charge_nano_usd - promo_nano_usd) AS waiting FROM billing_usage
                   WHERE journal_id IS NULL GROUP BY customer_id) u ON u.customer_id = c.id""",
    "promotional_credit_differs_from_account_9210_nano_usd": """
        SELECT sum(abs(coalesce(w.promo_nano_usd, 0) + coalesce(b.balance, 0) + coalesce(u.waiting, 0)))
        FROM accounts_customer c
        LEFT JOIN billing_wallet w ON w.customer_id = c.id
        LEFT JOIN billing_account_balance b
            ON b.number = 9210 AND b.asset = 'USD' AND b.party = c.id::text
        LEFT JOIN (SELECT customer_id, sum(promo_nano_usd) AS waiting FROM billing_usage
                   WHERE journal_id IS NULL GROUP BY customer_id) u ON u.customer_id = c.id""",
    "debts_differ_from_account_1160_nano_usd": """
        SELECT sum(abs(coalesce(w.debt_nano_usd, 0) - coalesce(b.balance, 0)))
        FROM accounts_customer c
        LEFT JOIN billing_wallet w ON w.customer_id = c.id
        LEFT JOIN billing_account_balance b
            ON b.number = 1160 AND b.asset = 'USD' AND b.party = c.id::text""",
    # Behind each part of a wallet stand grants of its kind, less usage that waits for the poster.
    "wallets_differ_from_their_grants_nano_usd": """
        SELECT sum(abs(coalesce(w.available_nano_usd, 0) - coalesce(g.remaining, 0) + coalesce(u.charge, 0))
                 + abs(coalesce(w.promo_nano_usd, 0) - coalesce(g.promo, 0) + coalesce(u.promo, 0))
                 + abs(coalesce(w.fresh_nano_usd, 0) - coalesce(g.fresh, 0) + coalesce(u.fresh, 0)))
        FROM accounts_customer c
        LEFT JOIN billing_wallet w ON w.customer_id = c.id
        LEFT JOIN (SELECT customer_id, sum(remaining_nano_usd) AS remaining,
                          sum(remaining_nano_usd) FILTER (WHERE kind = 'promo') AS promo,
                          sum(remaining_nano_usd) FILTER (WHERE is_fresh) AS fresh
                   FROM billing_grant GROUP BY customer_id) g ON g.customer_id = c.id
        LEFT JOIN (SELECT customer_id, sum(charge_nano_usd) AS charge, sum(promo_nano_usd) AS promo,
                          sum(fresh_nano_usd) AS fresh
                   FROM billing_usage WHERE journal_id IS NULL GROUP BY customer_id) u ON u.customer_id = c.id""",
    "grants_differ_from_their_uses_nano_usd": """
        SELECT sum(abs(g.amount_nano_usd - g.remaining_nano_usd - coalesce(u.total, 0))) FROM billing_grant g
        LEFT JOIN (SELECT grant_id, sum(amount_nano_usd) AS total FROM billing_grantuse GROUP BY grant_id) u
            ON u.grant_id = g.id""",
    # A budget that stands has counted what was charged since its period began.
    "budgets_differ_from_usage_nano_usd": """
        SELECT sum(abs(b.spent_nano_usd - coalesce((
            SELECT sum(charge_nano_usd) FROM billing_usage_by_day u
            WHERE u.customer_id = b.customer_id AND u.day >= b.period_start
              AND u.api_key_id = coalesce(b.api_key_id, u.api_key_id)), 0)))
        FROM billing_budget b WHERE b.lifted_at IS NULL""",
    "wallets_that_do_not_know_their_budgets": """
        SELECT count(*) FROM billing_wallet w WHERE w.has_budgets <> EXISTS (
            SELECT 1 FROM billing_budget b WHERE b.customer_id = w.customer_id AND b.lifted_at IS NULL)""",
    # Promotional credit is never revenue net: what usage credits to 4000 for it, 4900 takes back.
    "promotional_credit_used_differs_from_account_4900_nano_usd": """
        SELECT abs(coalesce((SELECT sum(promo_nano_usd) FROM billing_usage WHERE journal_id IS NOT NULL), 0)
                 - coalesce((SELECT sum(balance) FROM billing_account_balance WHERE number = 4900), 0))""",
    "usage_differs_from_its_journals_nano_usd": """
        SELECT sum(abs(u.total - coalesce(t.total, 0)))
        FROM (SELECT journal_id, sum(charge_nano_usd) AS total FROM billing_usage
              WHERE journal_id IS NOT NULL GROUP BY journal_id) u
        LEFT JOIN (SELECT x.journal_id, sum(x.amount_nano_usd) AS total FROM billing_transfer x
                   JOIN billing_ledgeraccount a ON a.id = x.credit_id AND a.number = 4000
                   GROUP BY x.journal_id) t USING (journal_id)""",
    "usage_differs_from_its_journals_wei": """
        SELECT sum(abs(u.total - coalesce(t.total, 0)))
        FROM (SELECT journal_id, sum(cost_wei) AS total FROM billing_usage
              WHERE journal_id IS NOT NULL GROUP BY journal_id) u
        LEFT JOIN (SELECT x.journal_id, sum(x.amount_wei) AS total FROM billing_transfer x
                   JOIN billing_ledgeraccount a ON a.id = x.credit_id AND a.number = 2300
                   GROUP BY x.journal_id) t USING (journal_id)""",
    # What is owed to each recipient, in both assets, is what its usage cost.
    "recipients_whose_cost_differs_from_usage": """
        SELECT count(*) FROM (
            SELECT journal_id, counterparty AS party, sum(cost_nano_usd) AS nano_usd, sum(cost_wei) AS wei
            FROM billing_usage WHERE journal_id IS NOT NULL GROUP BY 1, 2) u
        FULL JOIN (
            SELECT t.journal_id, a.party, sum(t.amount_nano_usd) AS nano_usd, sum(t.amount_wei) AS wei
            FROM billing_transfer t JOIN billing_journal j ON j.id = t.journal_id AND j.kind = 'usage'
            JOIN billing_ledgeraccount a ON a.id = t.credit_id AND a.number = 2300 GROUP BY 1, 2) b
        USING (journal_id, party) WHERE ROW (u.nano_usd, u.wei) IS DISTINCT FROM ROW (b.nano_usd, b.wei)""",
    # Statements and pages add up days; a day is exactly its posted usage.
    "day_totals_that_differ_from_usage": """
        SELECT count(*) FROM (
            SELECT customer_id, (at AT TIME ZONE 'UTC')::date AS day, api_key_id, label, kind, counterparty,
                   count(*) AS payments, sum(quantity) AS quantity, sum(fee_wei) AS fee_wei, sum(cost_wei) AS cost_wei,
                   sum(cost_nano_usd) AS cost_nano_usd, sum(charge_nano_usd) AS charge_nano_usd,
                   sum(promo_nano_usd) AS promo_nano_usd
            FROM billing_usage WHERE journal_id IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6) u
        FULL JOIN billing_usageday d USING (customer_id, day, api_key_id, label, kind, counterparty)
        WHERE ROW (u.payments, u.quantity, u.fee_wei, u.cost_wei, u.cost_nano_usd, u.charge_nano_usd, u.promo_nano_usd)
            IS DISTINCT FROM
              ROW (d.payments, d.quantity, d.fee_wei, d.cost_wei, d.cost_nano_usd, d.charge_nano_usd,
                   d.promo_nano_usd)""",
    "usage_journals_without_usage": """
        SELECT count(*) FROM billing_journal j WHERE j.kind = 'usage'
        AND NOT EXISTS (SELECT 1 FROM billing_usage u WHERE u.journal_id = j.id)""",
    "charges_that_differ_from_their_rate_nano_usd": """
        SELECT sum(abs(u.charge_nano_usd - billing_price_nano_usd(u.cost_wei, r.nano_usd_per_eth, u.markup_bps)))
        FROM billing_usage u JOIN billing_ethusdrate r ON r.id = u.rate_id""",
    # One journal per outside reference, and the same reference on both sides.
    "references_booked_twice": """
        SELECT count(*) FROM (SELECT reference FROM billing_journal GROUP BY reference HAVING count(*) > 1) x""",
    "wallet_entries_that_differ_from_their_journal": """
        SELECT count(*) FROM billing_walletentry e
        JOIN billing_journal j ON j.id = e.journal_id
        WHERE j.customer_id IS DISTINCT FROM e.customer_id OR e.amount_nano_usd <> (
            SELECT coalesce(sum(t.amount_nano_usd) FILTER (WHERE c.number IN (2100, 9210)), 0)
                 - coalesce(sum(t.amount_nano_usd) FILTER (WHERE d.number IN (2100, 9210)), 0)
            FROM billing_transfer t
            JOIN billing_ledgeraccount d ON d.id = t.debit_id JOIN billing_ledgeraccount c ON c.id = t.credit_id
            WHERE t.journal_id = e.journal_id)""",
    "top_ups_paid_but_not_credited": """
        SELECT count(*) FROM billing_topup t LEFT JOIN billing_bankline l ON l.top_up_id = t.id
        WHERE t.status = 'paid' AND NOT EXISTS (
            SELECT 1 FROM billing_walletentry e
            WHERE e.reference = coalesce('stripe:' || t.payment_intent_id, 'bank:' || l.id)
              AND e.customer_id = t.customer_id AND e.amount_nano_usd = t.credit_nano_usd)""",
    "top_ups_credited_but_not_paid": """
        SELECT count(*) FROM billing_walletentry e WHERE e.kind = 'top_up' AND NOT EXISTS (
            SELECT 1 FROM billing_topup t
            WHERE 'stripe:' || t.payment_intent_id = e.reference AND t.status = 'paid')
          AND NOT EXISTS (
            SELECT 1 FROM billing_bankline l JOIN billing_topup t ON t.id = l.top_up_id AND t.status = 'paid'
            WHERE 'bank:' || l.id = e.reference AND l.amount_cents = t.total_cents)""",
    # Documents: series without gaps, amounts as booked, one receipt for each payment (the clock has an hour for it).
    "documents_missing_in_their_series": """
        SELECT sum(abs(c.last - d.documents) + abs(c.last - d.highest)) FROM billing_documentcounter c
        LEFT JOIN LATERAL (
            SELECT count(*) AS documents, coalesce(max(sequence), 0) AS highest FROM billing_document
            WHERE entity_id = c.entity_id AND kind = c.kind AND year = c.year) d ON true""",
    "documents_without_a_counter": """
        SELECT count(*) FROM billing_document d LEFT JOIN billing_documentcounter c
            ON c.entity_id = d.entity_id AND c.kind = d.kind AND c.year = d.year
        WHERE c.last IS NULL OR d.sequence > c.last""",
    "documents_that_differ_from_their_journal_nano_usd": """
        SELECT sum(abs(d.total_nano_usd - coalesce(t.total, 0)) + abs(d.tax_nano_usd - coalesce(t.tax, 0))
                   + CASE WHEN d.currency = 'usd' AND d.journal_id IS NOT NULL
                     THEN abs(d.total_nano_usd - d.total_cents * 10000000)
                        + abs(d.tax_nano_usd - d.tax_cents * 10000000) ELSE 0 END)
        FROM billing_document d LEFT JOIN LATERAL (
            SELECT sum(x.amount_nano_usd) AS total,
                   sum(x.amount_nano_usd) FILTER (WHERE 2200 IN (a.number, b.number)) AS tax
            FROM billing_transfer x JOIN billing_ledgeraccount a ON a.id = x.debit_id
            JOIN billing_ledgeraccount b ON b.id = x.credit_id WHERE x.journal_id = d.journal_id) t ON true""",
    "paid_top_ups_without_receipt": """
        SELECT count(*) FROM billing_topup t WHERE t.status = 'paid'
            AND t.settled_at < clock_timestamp() - interval '1 hour'
            AND NOT EXISTS (SELECT 1 FROM billing_document d WHERE d.top_up_id = t.id AND d.kind = 'receipt')""",
    "receipts_of_unpaid_top_ups": """
        SELECT count(*) FROM billing_document d LEFT JOIN billing_topup t ON t.id = d.top_up_id
        WHERE d.kind = 'receipt' AND t.status IS DISTINCT FROM 'paid'""",
    "receipts_credited_beyond_their_total_cents": """
        SELECT sum(greatest(0, c.net - d.net_cents) + greatest(0, c.tax - d.tax_cents)) FROM billing_document d
        JOIN (SELECT corrects_id, sum(net_cents) AS net, sum(tax_cents) AS tax FROM billing_document
              WHERE kind = 'credit_note' AND NOT EXISTS (
                  SELECT 1 FROM billing_document b WHERE b.corrects_id = billing_document.id)
              GROUP BY 1) c ON c.corrects_id = d.id""",
    # A refund that arrived has its credit note, one that failed later its debit note as well, all others none.
    "refunds_that_differ_from_their_documents_cents": """
        SELECT sum(abs(coalesce(d.total, 0)
                 - CASE WHEN p.status = 'succeeded' THEN p.net_cents + p.tax_cents ELSE 0 END))
        FROM billing_refundpart p LEFT JOIN LATERAL (
            SELECT sum(c.total_cents - coalesce(b.total_cents, 0)) AS total FROM billing_document c
            LEFT JOIN billing_document b ON b.corrects_id = c.id
            WHERE c.reference = 'credit_note:refund:' || p.id) d ON true""",
    "credit_notes_offset_twice_or_in_part": """
        SELECT count(*) FROM billing_document c JOIN (
            SELECT corrects_id, count(*) AS notes, sum(net_cents) AS net, sum(tax_cents) AS tax FROM billing_document
            WHERE kind = 'debit_note' GROUP BY 1) b ON b.corrects_id = c.id
        WHERE c.kind <> 'credit_note' OR b.notes > 1 OR b.net <> c.net_cents OR b.tax <> c.tax_cents""",
    # A lost dispute corrects its receipt by the tax that it relieved.
    "lost_disputes_that_differ_from_their_credit_notes_nano_usd": """
        SELECT sum(abs(p.relieved_nano_usd - coalesce(d.tax_nano_usd, 0))) FROM billing_dispute p
        LEFT JOIN billing_document d ON d.reference = 'credit_note:dispute:' || p.provider_id || ':lost'
        WHERE p.stage = 'lost'""",
    # What the provider is to be told of a document's tax is what the document says.
    "tax_records_that_differ_from_their_document_cents": """
        SELECT sum(abs(r.net - d.net_cents) + abs(r.tax - d.tax_cents)) FROM (
            SELECT document_id, sum(net_cents) AS net, sum(tax_cents) AS tax FROM billing_taxrecord GROUP BY 1) r
        JOIN billing_document d ON d.id = r.document_id""",
    "taxed_documents_without_a_tax_record": """
        SELECT count(*) FROM billing_document d JOIN billing_topup t ON t.id = d.top_up_id
        JOIN billing_topuptax x ON x.top_up_id = t.id AND x.mode = 'at_top_up'
        WHERE t.method <> 'checkout' AND d.kind <> 'pro_forma' AND d.total_cents > 0
            AND NOT EXISTS (SELECT 1 FROM billing_taxrecord r WHERE r.document_id = d.id)""",
    # What the payment provider did with our balance there, once our journals tell of it, is what they tell.
    "explained_movements_that_differ_from_their_journals_nano_usd": """
        SELECT sum(abs(b.value - coalesce(m.moved, 0)))
        FROM (SELECT subject, sum(value_nano_usd) AS value FROM billing_balancetransaction
              GROUP BY subject HAVING bool_and(explained_at IS NOT NULL)) b
        LEFT JOIN (SELECT t.subject, sum(v.moved_nano_usd) AS moved FROM billing_providerjournal p
                   JOIN billing_balancetransaction t ON t.id = p.movement_id
                   JOIN billing_providermove v ON v.journal_id = p.journal_id GROUP BY t.subject) m USING (subject)""",
    # What is in transit of a payout: all of it until it came back or until our bank shows it.
    "payouts_whose_way_differs_nano_usd": """
        SELECT sum(abs(coalesce(b.balance, 0) - p.value_nano_usd * (
            1 - (EXISTS (SELECT 1 FROM billing_journal WHERE reference = 'stripe:' || p.id || ':returned'))::int
              - coalesce(l.shown, 0))))
        FROM billing_payout p
        LEFT JOIN billing_account_balance b ON b.number = 1120 AND b.asset = 'USD' AND b.party = p.id
        LEFT JOIN (SELECT payout_id, sum(sign(amount_cents)::int) AS shown FROM billing_bankline
                   WHERE journal_id IS NOT NULL GROUP BY 1) l ON l.payout_id = p.id
        WHERE p.value_nano_usd IS NOT NULL""",
    # A movement is younger than an hour, or our journals tell of it.
    "movements_at_the_provider_unexplained_for_an_hour": """
        SELECT count(*) FROM billing_balancetransaction
        WHERE explained_at IS NULL AND mirrored_at < clock_timestamp() - interval '1 hour'""",
}


def invariants() -> dict[str, int]:
    """Name and figure of every invariant of the money, all read from one snapshot (the caller's, when it has one)."""
    alone = not connection.in_atomic_block
    with transaction.atomic(), connection.cursor() as cursor:
        if alone:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        figures = {}
        for name, query in INVARIANTS.items():
            cursor.execute(query)
            row = cursor.fetchone()
            figures[name] = int(row[0] or 0) if row else 0
        return figures
