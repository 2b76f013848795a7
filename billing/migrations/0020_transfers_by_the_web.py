"""The web may write the wish of a bank transfer, which waits for its money from the first."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0019_tax_records"),
    ]

    operations = [
        migrations.RunSQL((SQL / "top_ups.sql").read_text(), migrations.RunSQL.noop),
    ]
