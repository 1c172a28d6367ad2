"""The longest answer that a tenant's settings can ask for has a bound, which larger stored values get."""

from django.core import validators
from django.db import migrations, models

MAX_TOKENS = 1_000_000


def lower_settings(apps, schema_editor):
    tenants = apps.get_model("tenants", "Tenant").objects
    tenants.filter(max_tokens__gt=MAX_TOKENS).update(max_tokens=MAX_TOKENS)


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0014_fair_deliveries"),
    ]

    operations = [
        migrations.AlterField(
            model_name="tenant",
            name="max_tokens",
            field=models.IntegerField(
                blank=True,
                null=True,
                validators=[validators.MinValueValidator(1), validators.MaxValueValidator(MAX_TOKENS)],
            ),
        ),
        migrations.RunPython(lower_settings, migrations.RunPython.noop),
    ]
