"""Makes the signer's writer anew: it looks for recipients paid for the first time only where there may be one."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0015_refusals")]
    operations = [migrations.RunSQL((SQL / "commit_payments.sql").read_text())]
