"""What browser credentials may set, by tenant: nothing, unless an admin allows it."""

import django_mongodb_backend.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0009_plain_names")]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="visitor_fields",
            field=django_mongodb_backend.fields.ArrayField(
                base_field=models.CharField(
                    choices=[
                        ("system_prompt", "System Prompt"),
                        ("route", "Route"),
                        ("provider", "Provider"),
                        ("model", "Model"),
                        ("temperature", "Temperature"),
                        ("max_tokens", "Max Tokens"),
                        ("metadata", "Metadata"),
                        ("concurrent", "Concurrent"),
                    ],
                    max_length=20,
                ),
                blank=True,
                default=list,
                help_text="What pages and their visitors may set by themselves, beside their words.",
            ),
        ),
    ]
