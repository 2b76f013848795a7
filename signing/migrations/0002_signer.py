"""Makes the signer's tables and gives each service its rights."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [
        ("signing", "0001_initial"),
        ("billing", "0002_books"),
        ("account", "0009_emailaddress_unique_primary_email"),
        ("mfa", "0003_authenticator_type_uniq"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("sessions", "0001_initial"),
    ]
    operations = [
        migrations.RunSQL((SQL / "tables.sql").read_text()),
        migrations.RunSQL((SQL / "grants.sql").read_text()),
    ]
