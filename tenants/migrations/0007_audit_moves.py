from django.db import migrations


class Migration(migrations.Migration):
    """The audit event's model moves to the app `audit`, which takes over its collection and indexes."""

    dependencies = [
        ("tenants", "0006_audit_refusals"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel(name="AuditEvent")]),
    ]
