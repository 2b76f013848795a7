"""A payment gets the number of its usage row, so that it is found without an index by session."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    # Each statement on its own, and indexes beside the writing: signers pay while rows of years are looked through.
    atomic = False
    dependencies = [("signing", "0021_sessions_by_their_key")]
    operations = [
        # Every payment so far took a number of each sequence, so none of usage can come that payments had. Where rows
        # were brought in by other ways, the sequence catches up.
        migrations.RunSQL(
            "SELECT setval('billing_usage_id', p.last_value) FROM signing_payment_id p, billing_usage_id u"
            " WHERE p.last_value > u.last_value"
        ),
        migrations.RunSQL((SQL / "commit_payments.sql").read_text()),
        # Those of before are found as they are.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS payment_by_usage"),
        migrations.RunSQL(
            "CREATE INDEX CONCURRENTLY payment_by_usage ON signing_payment (customer_id, usage_id) WHERE usage_id <> id"
        ),
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS payment_by_session"),
    ]
