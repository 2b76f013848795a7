"""Rooms for fresh money count what is on its way and what nobody knows of; an hour counts until its last commit was done."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0032_repeats_by_their_keys")]
    operations = [migrations.RunSQL((SQL / "fresh_leases.sql").read_text())]
