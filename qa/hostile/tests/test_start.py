"""What the product says when it starts in production."""

from __future__ import annotations

from core.mongo.checks import SUPPORTED_VERSION
from core.mongo.database import database


def test_a_database_server_out_of_support_is_named(db, product):
    is_old = tuple(database().client.server_info()["versionArray"][:2]) < SUPPORTED_VERSION
    assert ("is out of support. Use MongoDB 7.0 or later" in product.output) == is_old
