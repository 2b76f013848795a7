"""Makes the signer's writer anew: a refusal of the ledger tells its details."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0008_plain_payments"), ("billing", "0009_promo_and_age")]
    operations = [migrations.RunSQL((SQL / "commit_payments.sql").read_text())]
