"""What is no cell of the matrix: ids in queries, cursors, headers and tokens, and locks behind locks.

Each probe yields sentences about what is wrong, and is called by its name.
"""

from __future__ import annotations

from qa.isolation.probes import (
    figures,  # noqa: F401 - they enter themselves
    locks,  # noqa: F401 - they enter themselves
    own,  # noqa: F401 - they enter themselves
    requests,  # noqa: F401 - they enter themselves
    turns,  # noqa: F401 - they enter themselves
)
from qa.isolation.probes.probe import BROAD, PROBES, run

__all__ = ["BROAD", "PROBES", "run"]
