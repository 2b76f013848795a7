"""What kind of object an event is about, how it came and what was made of it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0005_debit_all"),
    ]

    operations = [
        migrations.AddField(
            model_name="stripeevent",
            name="kind",
            field=models.CharField(
                db_default="", help_text="Kind of the object it is about, such as charge.", max_length=40
            ),
        ),
        migrations.AddField(
            model_name="stripeevent",
            name="outcome",
            field=models.CharField(
                blank=True,
                choices=[("", "Waiting"), ("synced", "Synced"), ("unused", "Not used here")],
                db_default="",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="stripeevent",
            name="source",
            field=models.CharField(
                choices=[("webhook", "Webhook"), ("poll", "Poll")], db_default="webhook", max_length=10
            ),
        ),
        migrations.AddIndex(
            model_name="stripeevent",
            index=models.Index(
                condition=models.Q(("handled_at", None)), fields=["object_id"], name="unhandled_events_by_object"
            ),
        ),
    ]
