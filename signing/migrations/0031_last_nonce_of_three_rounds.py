"""The last nonce is the highest of three rounds, and no longer that of the payment which began highest in any of them."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0030_nonces_by_round_alone")]
    operations = [migrations.RunSQL((SQL / "commit_payments.sql").read_text())]
