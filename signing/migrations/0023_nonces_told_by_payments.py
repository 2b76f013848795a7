"""Payments tell which sender nonce is the last: the counters that were written beside them are closed."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    # Each statement on its own, and indexes beside the writing: signers pay while rows of years are looked through.
    atomic = False
    dependencies = [("signing", "0022_payments_numbered_as_usage")]
    operations = [
        # A counter moved with its payment only, in one transaction. Where rows were lost by other ways, nonces would
        # be given twice: then nothing is changed.
        migrations.RunSQL("""
            DO $$ BEGIN
                IF EXISTS (
                    SELECT 1 FROM signing_nonce n WHERE last_nonce > coalesce((
                        SELECT first_nonce + tickets - 1 FROM signing_payment p
                        WHERE p.recipient_rand_hash = n.recipient_rand_hash AND p.sender = n.sender
                        ORDER BY first_nonce DESC LIMIT 1), 0)
                ) THEN
                    RAISE EXCEPTION 'signing_nonce counts nonces that no payment has';
                END IF;
            END $$
        """),
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS payment_by_nonce"),
        migrations.RunSQL(
            "CREATE UNIQUE INDEX CONCURRENTLY payment_by_nonce"
            " ON signing_payment (recipient_rand_hash, first_nonce, sender)"
        ),
        # One transaction. A call that began under the old function and would still go by a counter fails, and the
        # signer asks again; the lock waits for those that counted already.
        migrations.RunSQL(
            "DROP TRIGGER IF EXISTS closed ON signing_nonce;"
            " CREATE TRIGGER closed BEFORE INSERT OR UPDATE OR DELETE ON signing_nonce"
            " EXECUTE FUNCTION billing_refuse_change();"
            " COMMENT ON TABLE signing_nonce IS 'Closed: the last nonce is that of the newest payment.';"
            + (SQL / "commit_payments.sql").read_text()
        ),
    ]
