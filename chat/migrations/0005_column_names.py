from django.db import migrations, models


class Migration(migrations.Migration):
    """Attributes get other names than their columns. Nothing changes in the database."""

    dependencies = [
        ("chat", "0004_wishes"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveConstraint(model_name="message", name="message_once"),
                migrations.RenameField("message", "idempotency", "idempotency_digest"),
                migrations.AlterField(
                    model_name="message",
                    name="idempotency_digest",
                    field=models.CharField(db_column="idempotency", editable=False, max_length=64, null=True),
                ),
                migrations.AddConstraint(
                    model_name="message",
                    constraint=models.UniqueConstraint(
                        condition=models.Q(("idempotency_digest__gt", "")),
                        fields=("idempotency_digest",),
                        name="message_once",
                    ),
                ),
                migrations.RenameField("message", "wish", "requested_options"),
                migrations.AlterField(
                    model_name="message",
                    name="requested_options",
                    field=models.JSONField(db_column="wish", editable=False, null=True),
                ),
            ],
        ),
    ]
