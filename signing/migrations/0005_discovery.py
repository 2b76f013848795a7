"""Makes the tables of discovery and gives each service its rights to them."""

from pathlib import Path

import django.db.models.functions.datetime
from django.db import migrations, models

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0003_commit_payments")]
    operations = [
        migrations.CreateModel(
            name="OrchestratorSource",
            fields=[
                ("name", models.CharField(max_length=20, primary_key=True, serialize=False)),
                ("members", models.JSONField(default=list)),
                ("due_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("read_at", models.DateTimeField(null=True)),
                ("trouble", models.CharField(blank=True, max_length=120)),
            ],
        ),
        migrations.CreateModel(
            name="SenderIntroduction",
            fields=[
                ("address", models.CharField(max_length=42, primary_key=True, serialize=False)),
                ("signature", models.BinaryField()),
                ("made_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name="Orchestrator",
            fields=[
                ("address", models.CharField(max_length=255, primary_key=True, serialize=False)),
                ("info", models.JSONField(null=True)),
                ("info_read_at", models.DateTimeField(null=True)),
                ("runners", models.JSONField(null=True)),
                ("runners_read_at", models.DateTimeField(null=True)),
                ("due_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("failures", models.SmallIntegerField(default=0)),
                ("trouble", models.CharField(blank=True, max_length=120)),
                ("first_seen_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={"indexes": [models.Index(fields=["due_at"], name="orchestrator_by_due")]},
        ),
        migrations.RunSQL((SQL / "discovery.sql").read_text()),
    ]
