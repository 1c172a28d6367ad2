"""The rights of members, keys and visitors: the one table behind every permission.

| right                | viewer | developer | admin | sk key   | visitor (pk key)      |
|----------------------|--------|-----------|-------|----------|-----------------------|
| VIEW, VIEW_ANALYTICS | yes    | yes       | yes   | by scope | -                     |
| READ_SESSIONS        | yes    | yes       | yes   | by scope | -                     |
| READ_SESSION         | yes    | yes       | yes   | by scope | its own               |
| WRITE_SESSIONS       | -      | yes       | yes   | by scope | -                     |
| OPEN_SESSIONS        | -      | yes       | yes   | by scope | yes                   |
| SEND_MESSAGES        | -      | yes       | yes   | by scope | in its own sessions   |
| GIVE_VISITOR_TOKENS  | -      | -         | -     | by scope | -                     |
| OWN_IDENTITY         | -      | -         | -     | -        | yes (visitors)        |
| EDIT                 | -      | yes       | yes   | -        | -                     |
| ADMINISTER           | -      | -         | yes   | -        | -                     |
| MEMBER               | yes    | yes       | yes   | -        | -                     |
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Right:
    """The lowest role that has it, and the scope that gives it to a secret key.

    `role` None: no member has it. `scope` None: no key has it. `visitor`: public keys and visitors have it
    too, each visitor in its own sessions: see `TenantCaller.reach`.
    """

    role: str | None
    scope: str | None = None
    visitor: bool = False


VIEW = Right("viewer", "usage:read")
VIEW_ANALYTICS = Right("viewer", "analytics:read")
READ_SESSIONS = Right("viewer", "sessions:read")
READ_SESSION = Right("viewer", "sessions:read", visitor=True)
WRITE_SESSIONS = Right("developer", "sessions:write")
OPEN_SESSIONS = Right("developer", "sessions:write", visitor=True)
SEND_MESSAGES = Right("developer", "messages:send", visitor=True)
GIVE_VISITOR_TOKENS = Right(None, "sessions:write")
OWN_IDENTITY = Right(None, "sessions:read", visitor=True)
EDIT = Right("developer")
ADMINISTER = Right("admin")
MEMBER = Right("viewer")
