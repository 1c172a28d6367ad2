"""Checks beyond the matrix: ids in queries, cursors, headers and tokens; conditions behind other conditions.

Each probe is a generator of failure descriptions, registered under the name of its function.
"""

from __future__ import annotations

# Importing a module registers its probes.
from qa.isolation.probes import (  # noqa: F401
    analytics,
    defense_in_depth,
    members_and_logins,
    requests,
    turns,
    visitors,
)
from qa.isolation.probes.registry import BROAD, PROBES, run

__all__ = ["BROAD", "PROBES", "run"]
