import django_mongodb_backend.fields
from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def move_rights(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Permissions and the history of the console refer to the content type by id, so they move with it."""
    _relabel(apps, "tenants", "audit")


def move_rights_back(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    _relabel(apps, "audit", "tenants")


def _relabel(apps: Apps, old: str, new: str) -> None:
    """One atomic update, repeatable: on a new database, and when done before, there is nothing to move."""
    content_types = apps.get_model("contenttypes", "ContentType").objects.filter(model="auditevent")
    if not content_types.filter(app_label=new).exists():
        content_types.filter(app_label=old).update(app_label=new)


class Migration(migrations.Migration):
    """Takes over the model from the app `tenants`: its collection and indexes stay as they are."""

    initial = True

    dependencies = [
        ("contenttypes", "0001_initial"),
        ("tenants", "0007_audit_moves"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name="AuditEvent",
                    fields=[
                        (
                            "id",
                            django_mongodb_backend.fields.ObjectIdAutoField(
                                auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                            ),
                        ),
                        ("created_at", models.DateTimeField(auto_now_add=True)),
                        ("updated_at", models.DateTimeField(auto_now=True)),
                        ("tenant_id", django_mongodb_backend.fields.ObjectIdField(null=True)),
                        ("action", models.CharField(max_length=60)),
                        ("reason", models.CharField(blank=True, default="", max_length=60)),
                        ("actor_id", django_mongodb_backend.fields.ObjectIdField(null=True)),
                        ("actor_key", django_mongodb_backend.fields.ObjectIdField(null=True)),
                        (
                            "actor_name",
                            models.CharField(
                                blank=True,
                                default="",
                                help_text="E-mail address or key prefix at that time.",
                                max_length=254,
                            ),
                        ),
                        ("target_type", models.CharField(max_length=40)),
                        ("target_id", models.CharField(max_length=40)),
                        ("target_name", models.CharField(blank=True, default="", max_length=254)),
                        ("changes", models.JSONField(default=dict)),
                        (
                            "asked",
                            models.CharField(
                                blank=True,
                                default="",
                                help_text="Method and route of a denied request.",
                                max_length=200,
                            ),
                        ),
                        ("address", models.CharField(blank=True, default="", max_length=45)),
                        ("user_agent", models.CharField(blank=True, default="", max_length=300)),
                        ("request_id", models.CharField(blank=True, default="", max_length=128)),
                        (
                            "dedup_key",
                            models.CharField(
                                blank=True,
                                db_column="once",
                                editable=False,
                                max_length=64,
                                null=True,
                                unique=True,
                            ),
                        ),
                    ],
                    options={
                        "db_table": "tenants_auditevent",
                        "ordering": ("-created_at", "-id"),
                        "indexes": [
                            models.Index(fields=["tenant_id", "-created_at", "-id"], name="audit_newest"),
                            models.Index(
                                fields=["tenant_id", "action", "-created_at", "-id"],
                                name="audit_action_newest",
                            ),
                            models.Index(fields=["-created_at", "-id"], name="audit_all_newest"),
                        ],
                    },
                ),
            ],
        ),
        migrations.RunPython(move_rights, move_rights_back),
    ]
