"""Visitors' ids in the form in which they are looked up from now on (core.text)."""

import unicodedata

from django.db import migrations


def compose(apps, schema_editor):
    sessions = schema_editor.connection.get_collection("chat_chatsession")
    for row in sessions.find({"visitor": {"$regex": r"[^\x00-\x7f]|^\s|\s$"}}, {"visitor": 1}):
        composed = unicodedata.normalize("NFC", row["visitor"]).strip()
        if composed and composed != row["visitor"]:
            # Repeatable, and no new version of the session: nothing that a client reads and edits has changed.
            sessions.update_one(row, {"$set": {"visitor": composed}})


class Migration(migrations.Migration):
    dependencies = [("chat", "0009_inner_words")]

    operations = [migrations.RunPython(compose, migrations.RunPython.noop, elidable=True)]
