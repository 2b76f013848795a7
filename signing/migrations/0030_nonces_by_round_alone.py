"""The index by which nonces were found before goes."""

from django.db import migrations


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("signing", "0029_nonces_of_rounds_beside")]
    operations = [migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS payment_by_nonce")]
