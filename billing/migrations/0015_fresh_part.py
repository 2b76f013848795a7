"""How much of a charge would come from fresh money, asked before it is made."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("billing", "0014_refunds_and_disputes")]
    operations = [migrations.RunSQL((SQL / "fresh_part.sql").read_text())]
