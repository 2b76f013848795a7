"""Makes the signer's writer anew: a payment that is alone in its call sorts nothing and asks once for its nonces."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0023_nonces_told_by_payments")]
    operations = [migrations.RunSQL((SQL / "commit_payments.sql").read_text())]
