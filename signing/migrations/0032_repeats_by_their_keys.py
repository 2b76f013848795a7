"""An opening asked again is found row by row by keys: plans made on empty tables read all sessions of the customer."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0031_last_nonce_of_three_rounds")]
    operations = [migrations.RunSQL((SQL / "commit_payments.sql").read_text())]
