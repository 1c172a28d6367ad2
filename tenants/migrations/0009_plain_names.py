"""New names and texts in the models. Columns, indexes and documents stay as they are."""

from django.core import validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0008_target_length")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveConstraint("webhookdelivery", "delivery_once"),
                migrations.RenameField("webhookdelivery", "once", "dedup_key"),
                migrations.AlterField(
                    "webhookdelivery",
                    "dedup_key",
                    models.CharField(max_length=120, editable=False, db_column="once"),
                ),
                migrations.AddConstraint(
                    "webhookdelivery",
                    models.UniqueConstraint(fields=["webhook", "dedup_key"], name="delivery_once"),
                ),
                migrations.AlterField(
                    model_name="erasure",
                    name="scope",
                    field=models.CharField(
                        choices=[
                            ("session", "One session"),
                            ("visitor", "One visitor"),
                            ("user", "One user's sessions in a tenant"),
                            ("chat", "All conversations of a tenant"),
                            ("retention", "Conversations past their retention"),
                            ("tenant", "A deleted tenant with everything it owns"),
                        ],
                        max_length=10,
                    ),
                ),
                migrations.AlterField(
                    model_name="erasuremanifest",
                    name="scope",
                    field=models.CharField(
                        choices=[
                            ("session", "One session"),
                            ("visitor", "One visitor"),
                            ("user", "One user's sessions in a tenant"),
                            ("chat", "All conversations of a tenant"),
                            ("retention", "Conversations past their retention"),
                            ("tenant", "A deleted tenant with everything it owns"),
                        ],
                        max_length=10,
                    ),
                ),
                migrations.AlterField(
                    model_name="plan",
                    name="history_messages",
                    field=models.IntegerField(
                        blank=True,
                        help_text="Earlier messages that are sent to the model. Empty: unlimited.",
                        null=True,
                        validators=[validators.MinValueValidator(0)],
                    ),
                ),
                migrations.AlterField(
                    model_name="plan",
                    name="unpriced",
                    field=models.CharField(
                        choices=[
                            ("allow", "Allow, the cost is unknown"),
                            ("refuse", "Refuse models without a price"),
                        ],
                        default="allow",
                        help_text="Whether models without a known price may be used.",
                        max_length=10,
                    ),
                ),
                migrations.AlterField(
                    model_name="tenant",
                    name="revision",
                    field=models.IntegerField(
                        default=0,
                        editable=False,
                        help_text="Number of serialized changes of members, keys and webhooks.",
                    ),
                ),
            ]
        )
    ]
