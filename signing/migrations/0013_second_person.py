"""Takes from the web what needs a second person: markups, higher ceilings, roles."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0012_velocity"), ("billing", "0004_markups"), ("accounts", "0004_approvals")]
    operations = [migrations.RunSQL((SQL / "second_person.sql").read_text())]
