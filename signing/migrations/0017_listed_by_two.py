"""Takes from the web what two people agree on about recipients."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0016_first_payments")]
    operations = [migrations.RunSQL((SQL / "listed_by_two.sql").read_text())]
