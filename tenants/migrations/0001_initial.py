import django.core.validators
import django.db.models.deletion
import django_mongodb_backend.fields
from django.conf import settings
from django.db import migrations, models

import tenants.billing.usage


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Plan",
            fields=[
                (
                    "id",
                    django_mongodb_backend.fields.ObjectIdAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("code", models.SlugField(max_length=40, unique=True)),
                ("name", models.CharField(max_length=80)),
                (
                    "requests_per_minute",
                    models.IntegerField(
                        blank=True,
                        help_text="Turns admitted in one minute. Empty: unlimited.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(0)],
                    ),
                ),
                (
                    "concurrent_turns",
                    models.IntegerField(
                        blank=True,
                        help_text="Turns running at the same time. Empty: unlimited.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(0)],
                    ),
                ),
                (
                    "messages_per_month",
                    models.IntegerField(
                        blank=True,
                        help_text="Answered messages in one calendar month (UTC). Empty: unlimited.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(0)],
                    ),
                ),
                (
                    "tokens_per_month",
                    models.IntegerField(
                        blank=True,
                        help_text="Input and output tokens in one calendar month (UTC). Empty: unlimited.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(0)],
                    ),
                ),
                (
                    "cost_per_month",
                    models.DecimalField(
                        blank=True,
                        decimal_places=6,
                        help_text="US dollars paid to providers in one calendar month (UTC). Empty: unlimited.",
                        max_digits=14,
                        null=True,
                        validators=[django.core.validators.MinValueValidator(0)],
                    ),
                ),
                (
                    "max_input_chars",
                    models.IntegerField(
                        blank=True,
                        help_text="Characters of one message. Empty: unlimited.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "max_output_tokens",
                    models.IntegerField(
                        blank=True,
                        help_text="Tokens of one reply. Empty: unlimited.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "history_messages",
                    models.IntegerField(
                        blank=True,
                        help_text="Earlier messages sent along to the model. Empty: unlimited.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(0)],
                    ),
                ),
                (
                    "max_api_keys",
                    models.IntegerField(
                        blank=True,
                        help_text="API keys that are neither revoked nor expired. Empty: unlimited.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(0)],
                    ),
                ),
                (
                    "max_members",
                    models.IntegerField(
                        blank=True,
                        help_text="Members of a tenant. Empty: unlimited.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "retention_days",
                    models.IntegerField(
                        blank=True,
                        help_text="Days a conversation is kept. Empty: unlimited.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                ("streaming", models.BooleanField(default=True, help_text="Replies may be streamed.")),
                (
                    "unpriced",
                    models.CharField(
                        choices=[
                            ("allow", "Allow, cost stays unknown"),
                            ("refuse", "Refuse models without a price"),
                        ],
                        default="allow",
                        help_text="What happens when the price of a model is unknown.",
                        max_length=10,
                    ),
                ),
            ],
            options={
                "ordering": ("code",),
            },
        ),
        migrations.CreateModel(
            name="Tenant",
            fields=[
                (
                    "id",
                    django_mongodb_backend.fields.ObjectIdAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("name", models.CharField(max_length=120)),
                ("slug", models.SlugField(editable=False, max_length=60, unique=True)),
                ("domain", models.CharField(blank=True, default="", max_length=253)),
                (
                    "allowed_origins",
                    django_mongodb_backend.fields.ArrayField(
                        base_field=models.CharField(max_length=300), blank=True, default=list
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[("active", "Active"), ("suspended", "Suspended")],
                        default="active",
                        max_length=10,
                    ),
                ),
                ("deleted_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "revision",
                    models.IntegerField(
                        default=0,
                        editable=False,
                        help_text="Counts changes of members and keys; makes them take turns.",
                    ),
                ),
                ("system_prompt", models.TextField(blank=True, default="", max_length=20000)),
                (
                    "route",
                    django_mongodb_backend.fields.ArrayField(
                        base_field=models.CharField(max_length=200),
                        blank=True,
                        default=list,
                        help_text="provider or provider/model, in the order they are tried.",
                    ),
                ),
                (
                    "temperature",
                    models.FloatField(
                        blank=True,
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(2),
                        ],
                    ),
                ),
                (
                    "max_tokens",
                    models.IntegerField(
                        blank=True, null=True, validators=[django.core.validators.MinValueValidator(1)]
                    ),
                ),
                (
                    "history_messages",
                    models.IntegerField(
                        blank=True,
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(1000),
                        ],
                    ),
                ),
                (
                    "retention_days",
                    models.IntegerField(
                        blank=True,
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(3650),
                        ],
                    ),
                ),
                (
                    "plan",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="tenants", to="tenants.plan"
                    ),
                ),
                (
                    "requested_plan",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="requests",
                        to="tenants.plan",
                    ),
                ),
            ],
            options={
                "ordering": ("-created_at", "-id"),
                "indexes": [
                    models.Index(fields=["-created_at", "-id"], name="tenant_newest"),
                    models.Index(fields=["deleted_at"], name="tenant_deleted"),
                    models.Index(fields=["allowed_origins"], name="tenant_origins"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Usage",
            fields=[
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "tenant",
                    models.OneToOneField(
                        db_column="_id",
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="usage",
                        serialize=False,
                        to="tenants.tenant",
                    ),
                ),
                ("minute", models.DateTimeField(null=True)),
                ("minute_count", models.IntegerField(default=0)),
                ("live", models.IntegerField(default=0)),
                ("reservations", tenants.billing.usage.SubdocumentField(default=dict, editable=False)),
                ("months", tenants.billing.usage.SubdocumentField(default=dict, editable=False)),
                ("alerts", tenants.billing.usage.SubdocumentField(default=dict, editable=False)),
            ],
            options={
                "verbose_name_plural": "usage",
            },
        ),
        migrations.CreateModel(
            name="Membership",
            fields=[
                (
                    "id",
                    django_mongodb_backend.fields.ObjectIdAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "role",
                    models.CharField(
                        choices=[("admin", "Admin"), ("developer", "Developer"), ("viewer", "Viewer")],
                        max_length=10,
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="memberships",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="memberships",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ("-created_at", "-id"),
                "indexes": [models.Index(fields=["tenant", "-created_at", "-id"], name="membership_newest")],
                "constraints": [
                    models.UniqueConstraint(fields=("user", "tenant"), name="one_membership_a_user")
                ],
            },
        ),
        migrations.CreateModel(
            name="LedgerEntry",
            fields=[
                (
                    "id",
                    django_mongodb_backend.fields.ObjectIdAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "month",
                    models.CharField(
                        help_text="The month it counts against, as 2026-11 (UTC).", max_length=7
                    ),
                ),
                ("session", django_mongodb_backend.fields.ObjectIdField(blank=True, null=True)),
                ("reply", django_mongodb_backend.fields.ObjectIdField()),
                ("run", models.IntegerField(default=1)),
                ("attempt", models.IntegerField(default=1)),
                ("api_key", django_mongodb_backend.fields.ObjectIdField(blank=True, null=True)),
                ("provider", models.CharField(max_length=40)),
                ("model", models.CharField(blank=True, default="", max_length=200)),
                ("outcome", models.CharField(max_length=40)),
                ("input_tokens", models.IntegerField(null=True)),
                ("output_tokens", models.IntegerField(null=True)),
                ("messages", models.IntegerField(default=0)),
                ("tokens", models.IntegerField(default=0)),
                (
                    "cost",
                    models.DecimalField(
                        decimal_places=10,
                        help_text="US dollars; empty where no price is known.",
                        max_digits=18,
                        null=True,
                    ),
                ),
                ("cost_basis", models.CharField(default="unpriced", max_length=10)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="ledger",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "ledger entries",
                "ordering": ("-created_at", "-id"),
                "indexes": [
                    models.Index(fields=["tenant", "month"], name="ledger_month"),
                    models.Index(fields=["tenant", "-created_at", "-id"], name="ledger_newest"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("reply", "run", "attempt"), name="one_entry_an_attempt")
                ],
            },
        ),
        migrations.CreateModel(
            name="Invitation",
            fields=[
                (
                    "id",
                    django_mongodb_backend.fields.ObjectIdAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("email", models.EmailField(max_length=254)),
                (
                    "role",
                    models.CharField(
                        choices=[("admin", "Admin"), ("developer", "Developer"), ("viewer", "Viewer")],
                        max_length=10,
                    ),
                ),
                ("digest", models.CharField(editable=False, max_length=64)),
                ("expires_at", models.DateTimeField()),
                ("accepted_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "invited_by",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="invitations",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ("-created_at", "-id"),
                "indexes": [
                    models.Index(fields=["digest"], name="invitation_digest"),
                    models.Index(fields=["tenant", "-created_at", "-id"], name="invitation_newest"),
                ],
            },
        ),
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
                ("action", models.CharField(max_length=60)),
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
                ("address", models.CharField(blank=True, default="", max_length=45)),
                ("user_agent", models.CharField(blank=True, default="", max_length=300)),
                ("request_id", models.CharField(blank=True, default="", max_length=128)),
                (
                    "actor",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="audit_events",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ("-created_at", "-id"),
                "indexes": [
                    models.Index(fields=["tenant", "-created_at", "-id"], name="audit_newest"),
                    models.Index(fields=["-created_at", "-id"], name="audit_all_newest"),
                ],
            },
        ),
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                (
                    "id",
                    django_mongodb_backend.fields.ObjectIdAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("name", models.CharField(max_length=80)),
                (
                    "kind",
                    models.CharField(
                        choices=[("sk", "secret (servers)"), ("pk", "public (browsers)")], max_length=2
                    ),
                ),
                (
                    "environment",
                    models.CharField(
                        choices=[("live", "Live"), ("test", "Test")], default="live", max_length=4
                    ),
                ),
                ("prefix", models.CharField(editable=False, max_length=20, unique=True)),
                ("last_four", models.CharField(editable=False, max_length=4)),
                ("digest", models.CharField(editable=False, max_length=64)),
                (
                    "scopes",
                    django_mongodb_backend.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("sessions:read", "Sessions Read"),
                                ("sessions:write", "Sessions Write"),
                                ("messages:send", "Messages Send"),
                                ("analytics:read", "Analytics Read"),
                                ("usage:read", "Usage Read"),
                            ],
                            max_length=40,
                        ),
                        blank=True,
                        default=list,
                    ),
                ),
                (
                    "allowed_origins",
                    django_mongodb_backend.fields.ArrayField(
                        base_field=models.CharField(max_length=300), blank=True, default=list
                    ),
                ),
                (
                    "allowed_networks",
                    django_mongodb_backend.fields.ArrayField(
                        base_field=models.CharField(max_length=50), blank=True, default=list
                    ),
                ),
                (
                    "allowed_models",
                    django_mongodb_backend.fields.ArrayField(
                        base_field=models.CharField(max_length=200), blank=True, default=list
                    ),
                ),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("last_used_at", models.DateTimeField(editable=False, null=True)),
                (
                    "last_used_address",
                    models.CharField(blank=True, default="", editable=False, max_length=45),
                ),
                (
                    "last_used_origin",
                    models.CharField(blank=True, default="", editable=False, max_length=300),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "replaced_by",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="tenants.apikey",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="api_keys",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "API key",
                "ordering": ("-created_at", "-id"),
                "indexes": [
                    models.Index(fields=["tenant", "-created_at", "-id"], name="api_key_newest"),
                    models.Index(fields=["allowed_origins"], name="api_key_origins"),
                ],
            },
        ),
    ]
