"""Plain names for the fields of roll-ups. Columns and indexes stay as they are."""

from django.db import migrations, models

FIELDS = [
    ("fresh", "is_fresh", models.BooleanField(db_column="fresh", default=False)),
    ("marks", "invalidations", models.IntegerField(db_column="marks", default=0)),
    ("marked_at", "invalidated_at", models.DateTimeField(db_column="marked_at", null=True)),
    ("live", "current", models.JSONField(db_column="live", default=dict)),
    ("kept", "archived", models.JSONField(db_column="kept", default=dict)),
]


class Migration(migrations.Migration):
    dependencies = [("chat", "0005_column_names")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveIndex("rollup", "rollup_stale"),
                *(
                    operation
                    for old, new, field in FIELDS
                    for operation in (
                        migrations.AlterField("rollup", old, field),
                        migrations.RenameField("rollup", old, new),
                    )
                ),
                migrations.AddIndex(
                    "rollup",
                    models.Index(
                        fields=["tenant", "kind", "start"],
                        condition=models.Q(is_fresh=False),
                        name="rollup_stale",
                    ),
                ),
            ]
        )
    ]
