import django.db.models.deletion
import django_mongodb_backend.fields
from django.db import migrations, models

import core.mongo.indexes


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0003_erasures"),
    ]

    operations = [
        migrations.CreateModel(
            name="Webhook",
            fields=[
                (
                    "id",
                    django_mongodb_backend.fields.ObjectIdAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("url", models.CharField(max_length=500)),
                (
                    "events",
                    django_mongodb_backend.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("usage.threshold_reached", "Usage Threshold"),
                                ("api_key.issued", "Key Issued"),
                                ("api_key.rotated", "Key Rotated"),
                                ("api_key.revoked", "Key Revoked"),
                            ],
                            max_length=40,
                        ),
                        default=list,
                    ),
                ),
                ("enabled", models.BooleanField(default=True)),
                ("sealed_secret", models.CharField(editable=False, max_length=300)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="webhooks",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ("-created_at", "-id"),
                "indexes": [models.Index(fields=["tenant", "-created_at", "-id"], name="webhook_newest")],
            },
        ),
        migrations.CreateModel(
            name="WebhookDelivery",
            fields=[
                (
                    "id",
                    django_mongodb_backend.fields.ObjectIdAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("event", models.CharField(max_length=40)),
                ("once", models.CharField(editable=False, max_length=120)),
                ("body", models.TextField()),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("delivered", "Delivered"),
                            ("given_up", "given up"),
                        ],
                        default="pending",
                        max_length=10,
                    ),
                ),
                ("attempts", models.IntegerField(default=0)),
                ("due_at", models.DateTimeField()),
                ("claim", django_mongodb_backend.fields.ObjectIdField(editable=False, null=True)),
                ("response_status", models.IntegerField(null=True)),
                ("problem", models.CharField(blank=True, default="", max_length=200)),
                ("finished_at", models.DateTimeField(null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
                (
                    "webhook",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="deliveries",
                        to="tenants.webhook",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "webhook deliveries",
                "ordering": ("-created_at", "-id"),
                "indexes": [
                    models.Index(
                        condition=models.Q(("status", "pending")), fields=["due_at"], name="delivery_due"
                    ),
                    models.Index(fields=["webhook", "-created_at", "-id"], name="delivery_newest"),
                    core.mongo.indexes.TTLIndex(
                        expire_after_seconds=2592000, fields=["finished_at"], name="delivery_ttl"
                    ),
                ],
                "constraints": [models.UniqueConstraint(fields=("webhook", "once"), name="delivery_once")],
            },
        ),
    ]
