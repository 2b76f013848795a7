"""A session that is continued is found by its key alone: the index by time is for pages, which name its condition."""

from django.db import migrations


class Migration(migrations.Migration):
    # In one transaction the drop would wait for payments that wait for the new index: a deadlock, and the migration loses.
    atomic = False
    dependencies = [("signing", "0020_plain_at_once")]
    operations = [
        # Both began with the customer, and while the table was small either looked as good to the planner; by time it
        # then read all sessions that the customer ever opened. A condition that a commit does not name bars it.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS session_by_opening_time"),
        migrations.RunSQL(
            "CREATE INDEX CONCURRENTLY session_by_opening_time ON signing_session (customer_id, opened_at DESC, id DESC)"
            " WHERE opened_at > '2000-01-01 00:00:00+00'"
        ),
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS session_by_time"),
    ]
