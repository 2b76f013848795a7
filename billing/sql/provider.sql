-- By journal and currency of our balance at the provider: what it moves account 1100 by, debits less credits.
CREATE VIEW billing_providermove AS
SELECT journal_id, coalesce(nullif(party, ''), 'usd') AS currency, sum(amount_nano_usd)::bigint AS moved_nano_usd
FROM (
    SELECT t.journal_id, a.party, t.amount_nano_usd
    FROM billing_ledgeraccount a JOIN billing_transfer t ON t.debit_id = a.id
    WHERE a.number = 1100 AND a.asset = 'USD'
    UNION ALL
    SELECT t.journal_id, a.party, -t.amount_nano_usd
    FROM billing_ledgeraccount a JOIN billing_transfer t ON t.credit_id = a.id
    WHERE a.number = 1100 AND a.asset = 'USD'
) sides GROUP BY journal_id, party;

-- Those that tell of no movement at the provider yet.
CREATE VIEW billing_loosemove AS
SELECT m.*, j.reference, j.booked_at FROM billing_providermove m JOIN billing_journal j ON j.id = m.journal_id
WHERE NOT EXISTS (SELECT 1 FROM billing_providerjournal p WHERE p.journal_id = m.journal_id);

GRANT SELECT ON billing_providermove, billing_loosemove TO clearinghouse_web, clearinghouse_worker;

-- Who may touch what the provider told us: the worker writes it, the web reads it and puts an event in front again.
GRANT SELECT ON billing_providercursor, billing_balancetransaction, billing_providerjournal, billing_payout,
    billing_tieout TO clearinghouse_web, clearinghouse_worker;
GRANT INSERT, UPDATE ON billing_providercursor, billing_payout TO clearinghouse_worker;
GRANT INSERT ON billing_balancetransaction, billing_providerjournal, billing_tieout TO clearinghouse_worker;
GRANT UPDATE (payout_id, value_nano_usd, explained_at, asked_at) ON billing_balancetransaction TO clearinghouse_worker;
GRANT UPDATE (not_before) ON billing_stripeevent TO clearinghouse_web;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_tieout
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_providerjournal
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_delete BEFORE DELETE ON billing_balancetransaction
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER no_delete BEFORE DELETE ON billing_payout
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
