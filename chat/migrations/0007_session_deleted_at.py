"""When the erasure of a session began. Only the state: a session without the field is not being erased."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("chat", "0006_rollup_names")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AddField(
                    "chatsession", "deleted_at", models.DateTimeField(editable=False, null=True)
                )
            ]
        )
    ]
