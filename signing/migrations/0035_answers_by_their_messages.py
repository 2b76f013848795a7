"""A session keeps what was signed for its last answer and the state's seal; the state itself its row tells."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0034_first_credit_meanwhile")]
    operations = [migrations.RunSQL((SQL / "commit_payments.sql").read_text())]
