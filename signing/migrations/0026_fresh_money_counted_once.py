"""Fresh money that a call sent is told by whoever counts it, instead of being looked up before and after."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0025_sessions_in_order_of_their_ids")]
    operations = [migrations.RunSQL((SQL / "commit_payments.sql").read_text())]
