from django.db import migrations, models

import core.mongo.indexes


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0002_rollups"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="message",
            index=core.mongo.indexes.TextIndex(
                condition=models.Q(("status__in", ["complete", "cancelled", "failed", "interrupted"])),
                fields=["tenant", "content", "created_at"],
                name="message_words",
                text="content",
            ),
        ),
    ]
