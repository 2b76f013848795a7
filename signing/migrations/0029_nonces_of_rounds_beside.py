"""The last nonce is looked for in the round of a payment's tickets and the rounds beside it."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0028_nonces_by_round")]
    operations = [migrations.RunSQL((SQL / "commit_payments.sql").read_text())]
