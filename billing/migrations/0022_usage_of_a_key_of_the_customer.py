"""One foreign key instead of two, and a stricter one: usage is charged by a key of the customer who pays."""

from django.db import migrations


class Migration(migrations.Migration):
    # Each statement on its own: signers write while rows of years are looked through.
    atomic = False
    dependencies = [("billing", "0021_debit_all_in_one_pass"), ("accounts", "0008_key_of_its_customer")]
    operations = [
        migrations.RunSQL("ALTER TABLE billing_usage DROP CONSTRAINT IF EXISTS usage_by_key_of_the_customer"),
        migrations.RunSQL(
            "ALTER TABLE billing_usage ADD CONSTRAINT usage_by_key_of_the_customer"
            " FOREIGN KEY (customer_id, api_key_id) REFERENCES accounts_apikey (customer_id, id) NOT VALID"
        ),
        migrations.RunSQL("ALTER TABLE billing_usage VALIDATE CONSTRAINT usage_by_key_of_the_customer"),
        # A key has a customer that there is: its own foreign key says so.
        migrations.RunSQL(
            "ALTER TABLE billing_usage DROP CONSTRAINT IF EXISTS billing_usage_api_key_id_fkey,"
            " DROP CONSTRAINT IF EXISTS billing_usage_customer_id_fkey"
        ),
    ]
