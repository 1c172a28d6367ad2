"""Invitations are deleted 90 days after they expire."""

from django.db import migrations

import core.mongo.indexes


class Migration(migrations.Migration):
    dependencies = [("tenants", "0010_visitor_fields")]

    operations = [
        migrations.AddIndex(
            model_name="invitation",
            index=core.mongo.indexes.TTLIndex(
                expire_after_seconds=7776000, fields=["expires_at"], name="invitation_ttl"
            ),
        ),
    ]
