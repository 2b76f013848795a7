"""Payments can be found by the creation round of their tickets first, so that those of today lie together in an index."""

from django.db import migrations


class Migration(migrations.Migration):
    # Beside the writing: signers pay while rows of years are looked through. Nobody uses it before the next migration,
    # so after a stop it is made again.
    atomic = False
    dependencies = [("signing", "0027_nonces_by_one_index")]
    operations = [
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS payment_by_ticket_params"),
        migrations.RunSQL(
            "CREATE UNIQUE INDEX CONCURRENTLY payment_by_ticket_params"
            " ON signing_payment (creation_round, recipient_rand_hash, first_nonce, sender)"
        ),
    ]
