"""Makes the signer's writer anew: what is not plain is looked for, instead of what is."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).resolve().parent.parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("signing", "0019_sanctions_of_each_list"), ("billing", "0021_debit_all_in_one_pass")]
    operations = [migrations.RunSQL((SQL / "commit_payments.sql").read_text())]
