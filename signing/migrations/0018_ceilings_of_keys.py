"""Lets the web raise a key's price ceiling for the key's own people only."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0017_listed_by_two")]
    operations = [migrations.RunSQL((SQL / "second_person.sql").read_text())]
