"""Keys can be referred to together with their owner."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0007_notices")]
    operations = [
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.UniqueConstraint(fields=["customer", "id"], name="key_of_its_customer"),
        ),
    ]
