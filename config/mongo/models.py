"""The base of every document of this project. This app has no collection of its own."""

from django.db import models


class Document(models.Model):
    """A document that knows when it was made and last saved, both in UTC.

    `QuerySet.update()` does not touch `updated_at`: name it there where it matters.
    """

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True
