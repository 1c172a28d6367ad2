"""What is no cell of the matrix: ids in queries, cursors, headers and tokens, and locks behind locks.

Each probe yields sentences about what is wrong, and is called by its name.
"""

from __future__ import annotations

from config.isolation.probes import figures, locks, own, requests, turns  # noqa: F401 - they enter themselves
from config.isolation.probes.probe import BROAD, PROBES, run

__all__ = ["BROAD", "PROBES", "run"]
