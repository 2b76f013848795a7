"""Makes the signer's writer anew: whoever worked from old values is told the session's first price as well."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0013_second_person")]
    operations = [migrations.RunSQL((SQL / "commit_payments.sql").read_text())]
