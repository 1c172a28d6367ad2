"""The index of words has a second text: the words within a text that are not separated by spaces.

Documents without the field have no such words. A collection has one index of words: while the new one is built,
searches fail.
"""

from django.db import migrations, models
from pymongo import UpdateOne

import core.mongo.indexes
from core.mongo import database
from core.mongo.text_search import _SPECIAL, inner_words

BATCH = 500
FINAL = ["complete", "cancelled", "failed", "interrupted"]


def store_inner_words(apps, schema_editor):
    messages = database.collection(apps.get_model("chat", "Message")._meta.db_table)
    writes = []
    for row in messages.find({"search_terms": None, "status": {"$in": FINAL}}, {"content": 1}):
        if _SPECIAL.search(row["content"]):
            update = {"$set": {"search_terms": inner_words(row["content"])}}
            # A reply that is answered again meanwhile gets those of its new text.
            writes.append(UpdateOne({"_id": row["_id"], "content": row["content"]}, update))
        if len(writes) >= BATCH:
            messages.bulk_write(writes, ordered=False)
            writes = []
    if writes:
        messages.bulk_write(writes, ordered=False)


def words_index(fields, text):
    return core.mongo.indexes.TextIndex(
        condition=models.Q(("status__in", FINAL)), fields=fields, name="message_words", text=text
    )


class Migration(migrations.Migration):
    dependencies = [("chat", "0008_visitor_identity")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AddField(
                    "message", "search_terms", models.TextField(blank=True, default="", editable=False)
                )
            ]
        ),
        migrations.RunPython(store_inner_words, migrations.RunPython.noop),
        migrations.RemoveIndex("message", "message_words"),
        migrations.AddIndex(
            "message",
            words_index(["tenant", "content", "search_terms", "created_at"], ["content", "search_terms"]),
        ),
    ]
