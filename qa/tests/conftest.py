"""The cast of chat's tests, for what concerns the whole product."""

from chat.tests.conftest import *  # noqa: F403 - the same cast
