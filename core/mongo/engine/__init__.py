"""The database engine; `base` is what Django loads. See there."""

from __future__ import annotations

import ctypes.util
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _no_libraries() -> Iterator[None]:
    search = ctypes.util.find_library
    ctypes.util.find_library = lambda name: None
    try:
        yield
    finally:
        ctypes.util.find_library = search


# For its geographic fields, which are not used here, django-mongodb-backend 5.2.4 searches three times for
# GDAL. The search runs gcc, ld and ldconfig: 0.4 s of the start of every process.
with _no_libraries():
    import django_mongodb_backend.base  # noqa: F401 - imported for its side effects
