"""Makes the function through which the signer commits payments."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0002_signer")]
    operations = [migrations.RunSQL((SQL / "commit_payments.sql").read_text())]
