"""Limits of plans on tenants by owner, conversations by day and kept bytes; the owners of tenants."""

import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

#: (tenants of one owner, conversations a day, bytes of conversations), by plan. Others stay unlimited.
LIMITS = {"free": (3, 1_000, 256 * 2**20), "pro": (None, 50_000, 20 * 2**30)}


def set_limits(apps, schema_editor):
    plans = apps.get_model("tenants", "Plan").objects
    for code, (tenants, sessions, kept_bytes) in LIMITS.items():
        plans.filter(code=code).update(
            tenants_per_owner=tenants, sessions_per_day=sessions, kept_bytes=kept_bytes
        )


def set_owners(apps, schema_editor):
    """Who created a tenant is its first member."""
    memberships = apps.get_model("tenants", "Membership").objects.order_by("created_at", "id")
    for tenant in apps.get_model("tenants", "Tenant").objects.filter(owner=None).iterator():
        first = memberships.filter(tenant_id=tenant.pk).first()
        if first:
            apps.get_model("tenants", "Tenant").objects.filter(pk=tenant.pk).update(owner_id=first.user_id)


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0011_invitation_ttl"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="plan",
            name="kept_bytes",
            field=models.BigIntegerField(
                blank=True,
                help_text="Bytes of conversations that a tenant keeps. Empty: unlimited.",
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
            ),
        ),
        migrations.AddField(
            model_name="plan",
            name="sessions_per_day",
            field=models.IntegerField(
                blank=True,
                help_text="Conversations opened in one day (UTC). Empty: unlimited.",
                null=True,
                validators=[django.core.validators.MinValueValidator(0)],
            ),
        ),
        migrations.AddField(
            model_name="plan",
            name="tenants_per_owner",
            field=models.IntegerField(
                blank=True,
                help_text="Tenants on this plan that one user creates, with those deleted this month. Empty: unlimited.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="owner",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                editable=False,
                help_text="Who created it: the plan limits its tenants by owner.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="owned_tenants",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="usage",
            name="day",
            field=models.CharField(blank=True, default="", max_length=10),
        ),
        migrations.AddField(
            model_name="usage",
            name="day_sessions",
            field=models.IntegerField(default=0),
        ),
        migrations.AddField(
            model_name="usage",
            name="kept_bytes",
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name="usage",
            name="kept_counted_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddIndex(
            model_name="tenant",
            index=models.Index(fields=["owner"], name="tenant_owner"),
        ),
        migrations.RunPython(set_limits, migrations.RunPython.noop),
        migrations.RunPython(set_owners, migrations.RunPython.noop),
    ]
