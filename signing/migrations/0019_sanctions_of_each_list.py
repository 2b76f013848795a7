"""Each list of sanctions has its own rule for whom it names, so that what one drops may stand on another."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("signing", "0018_ceilings_of_keys"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="recipientrule",
            name="one_standing_rule",
        ),
        migrations.AddConstraint(
            model_name="recipientrule",
            constraint=models.UniqueConstraint(
                condition=models.Q(("lifted_at", None), models.Q(("standing", "sanctioned"), _negated=True)),
                fields=("address", "standing"),
                name="one_standing_rule",
            ),
        ),
        migrations.AddConstraint(
            model_name="recipientrule",
            constraint=models.UniqueConstraint(
                condition=models.Q(("lifted_at", None), ("standing", "sanctioned")),
                fields=("address", "reference"),
                name="one_sanction_of_a_list",
            ),
        ),
    ]
