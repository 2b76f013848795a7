"""The demo's mails, and one active API key per name and customer."""

import django.db.models.functions.datetime
from django.db import migrations, models

GRANTS = """
GRANT SELECT, INSERT ON accounts_mail TO clearinghouse_web, clearinghouse_worker;
GRANT USAGE ON SEQUENCE accounts_mail_id_seq TO clearinghouse_web, clearinghouse_worker;
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_roles")]

    operations = [
        migrations.CreateModel(
            name="Mail",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("to", models.EmailField(max_length=254)),
                ("subject", models.CharField(max_length=200)),
                ("text", models.TextField()),
                ("html", models.TextField(blank=True)),
                (
                    "sent_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.UniqueConstraint(
                condition=models.Q(("revoked_at", None)),
                fields=("customer", "name"),
                name="one_active_key_per_name",
            ),
        ),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
    ]
