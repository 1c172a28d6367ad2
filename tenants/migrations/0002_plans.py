"""The three plans that the product starts with; staff edit them in the admin."""

from decimal import Decimal

from django.db import migrations

PLANS = [
    {
        "code": "free",
        "name": "Free",
        "requests_per_minute": 20,
        "concurrent_turns": 2,
        "messages_per_month": 1_000,
        "tokens_per_month": 1_000_000,
        "cost_per_month": Decimal("5"),
        "max_input_chars": 8_000,
        "max_output_tokens": 1_024,
        "history_messages": 20,
        "max_api_keys": 3,
        "max_members": 3,
        "retention_days": 30,
        "unpriced": "allow",
    },
    {
        "code": "pro",
        "name": "Pro",
        "requests_per_minute": 120,
        "concurrent_turns": 20,
        "messages_per_month": 50_000,
        "tokens_per_month": 100_000_000,
        "cost_per_month": Decimal("200"),
        "max_input_chars": 32_000,
        "max_output_tokens": 4_096,
        "history_messages": 50,
        "max_api_keys": 20,
        "max_members": 20,
        "retention_days": 365,
        "unpriced": "allow",
    },
    {
        "code": "enterprise",
        "name": "Enterprise",
        "requests_per_minute": 6_000,
        "concurrent_turns": 2_000,
        "messages_per_month": None,
        "tokens_per_month": None,
        "cost_per_month": None,
        "max_input_chars": 200_000,
        "max_output_tokens": None,
        "history_messages": 200,
        "max_api_keys": None,
        "max_members": None,
        "retention_days": None,
        "unpriced": "allow",
    },
]


def create_plans(apps, schema_editor):
    plan_model = apps.get_model("tenants", "Plan")
    for values in PLANS:
        if not plan_model.objects.filter(code=values["code"]).exists():
            plan_model.objects.create(**values)


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial")]

    operations = [migrations.RunPython(create_plans, migrations.RunPython.noop)]
