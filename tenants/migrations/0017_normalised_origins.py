"""Allowed origins are stored as browsers send them: in lower case, in ASCII, without default ports."""

from django.db import migrations

from core.origins import normalised_origin


def normalise_origins(apps, schema_editor):
    for name in ("Tenant", "ApiKey"):
        documents = apps.get_model("tenants", name).objects
        for pk, origins in documents.exclude(allowed_origins=[]).values_list("pk", "allowed_origins"):
            normalised = list(dict.fromkeys(map(normalised_origin, origins or [])))
            if normalised != origins:
                documents.filter(pk=pk).update(allowed_origins=normalised)


class Migration(migrations.Migration):
    dependencies = [("tenants", "0016_secret_key_origins")]

    operations = [migrations.RunPython(normalise_origins, migrations.RunPython.noop)]
