"""An opened session writes one index, its key: ids begin with the time, and pages read them backwards."""

from django.db import migrations


class Migration(migrations.Migration):
    # Indexes are made and dropped beside the writing.
    atomic = False
    dependencies = [("signing", "0024_one_payment_alone")]
    operations = [
        # For those that were numbered at random; signing/newest_sessions.py names the condition.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS session_of_before"),
        migrations.RunSQL(
            "CREATE INDEX CONCURRENTLY session_of_before ON signing_session (customer_id, opened_at DESC, id DESC)"
            " WHERE (get_byte(uuid_send(id), 6) >> 4) <> 7"
        ),
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS session_by_opening_time"),
    ]
