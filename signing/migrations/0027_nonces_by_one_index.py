"""The index by which nonces were found before goes, and payments have no nonce that a ticket cannot have."""

from django.db import migrations


class Migration(migrations.Migration):
    # Apart from the migration that makes its successor: run again after a stop, that one begins by dropping what it made.
    atomic = False
    dependencies = [("signing", "0026_fresh_money_counted_once")]
    operations = [
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS payment_by_rand_hash"),
        # Payments wait behind this lock, and it behind whoever reads them: not for long.
        migrations.RunSQL("""
            SET LOCAL lock_timeout = '2s';
            ALTER TABLE signing_payment DROP CONSTRAINT IF EXISTS nonces_of_32_bits;
            ALTER TABLE signing_payment ADD CONSTRAINT nonces_of_32_bits
                CHECK (first_nonce >= 0 AND first_nonce + tickets <= 4294967296) NOT VALID;
        """),
    ]
