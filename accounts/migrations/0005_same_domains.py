"""Addresses are stored with their domain as DNS knows it, which two spellings of one domain share."""

from django.db import migrations


def domain_of_dns(email):
    local, _, domain = email.rpartition("@")
    try:
        return f"{local}@{domain.encode('idna').decode('idna')}"
    except UnicodeError:
        return email


def normalise_domains(apps, schema_editor):
    """Rename the users concerned, except those whose address another user has by then."""
    users = apps.get_model("accounts", "User").objects
    for pk, email in users.filter(email__regex=r"[^\x00-\x7F]|@.*xn--").values_list("pk", "email"):
        normalised = domain_of_dns(email)
        if normalised != email and not users.filter(email=normalised).exists():
            users.filter(pk=pk).update(email=normalised)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_console_epoch"),
    ]

    operations = [migrations.RunPython(normalise_domains, migrations.RunPython.noop)]
