"""Creates the database roles of the four services."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [migrations.RunSQL((SQL / "roles.sql").read_text(), migrations.RunSQL.noop)]
