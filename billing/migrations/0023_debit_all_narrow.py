"""Makes the debit of many anew: what is judged is kept apart from what is only written down."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("billing", "0022_usage_of_a_key_of_the_customer")]
    operations = [migrations.RunSQL((SQL / "debit.sql").read_text())]
