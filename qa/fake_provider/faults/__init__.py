"""All faults of a provider by name, for every wire format.

A fault is selected by the model name, `fault-<spec>`, or by a control script, `<spec>`:

    <name>[-after-<tokens>][-wait-<seconds>][-times-<calls>][-for-<seconds>]

`after`: tokens that are sent before the fault (default 3). `wait`: seconds of a slow fault or of a
Retry-After (default 1). `times`: only the first calls of that model fail. `for`: calls fail for so long
after the first one, which simulates flapping.
Example: `fault-cut-after-2-times-1` cuts the first answer after two tokens.

`error_responses` has those that answer with an error status, `connections` those of connections and time,
`streams` those after the first tokens, `bodies` unusual bodies.
"""

from __future__ import annotations

import re

from qa.fake_provider.call import Call

# Importing a module registers its faults.
from qa.fake_provider.faults import bodies, connections, error_responses, streams  # noqa: F401
from qa.fake_provider.faults.registry import FAULTS, FaultSpec

__all__ = ["MODEL_PREFIX", "NAMES", "FaultSpec", "apply", "parse"]

MODEL_PREFIX = "fault-"
NAMES = tuple(sorted(FAULTS))

_SPEC = re.compile(
    r"(?P<name>.+?)(?:-after-(?P<after>\d+))?(?:-wait-(?P<wait>[\d.]+?)s?)?"
    r"(?:-times-(?P<times>\d+))?(?:-for-(?P<seconds>[\d.]+?)s?)?"
)


def parse(text: str) -> FaultSpec:
    """Return the fault that `text` specifies. Raises ValueError if it does not exist."""
    match = _SPEC.fullmatch(text.removeprefix(MODEL_PREFIX))
    if match is None or match["name"] not in NAMES:
        raise ValueError(f"There is no fault {text!r}. Faults: {', '.join(NAMES)}")
    return FaultSpec(
        match["name"],
        after=int(match["after"] or 3),
        wait=float(match["wait"] or 1),
        times=int(match["times"]) if match["times"] else None,
        seconds=float(match["seconds"]) if match["seconds"] else None,
    )


async def apply(spec: FaultSpec, call: Call) -> None:
    """Answer `call` with this fault."""
    await FAULTS[spec.name](spec, call)
