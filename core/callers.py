"""Who sends a request: one class per kind of caller.

    Caller
    ├── AnonymousCaller                      no credential
    ├── accounts.callers.UserCaller          a user's access token
    └── tenants.access.callers.TenantCaller  what routes below a tenant accept:
        ├── MemberCaller                     a user's access token (a UserCaller, too)
        ├── KeyCaller                        an API key
        └── chat.visitors.VisitorCaller      a visitor's token

Authentication sets it as `request.auth`; nothing after it looks at credentials.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

from bson import ObjectId


class Caller(abc.ABC):
    """What any part of the API may ask of a caller, whatever its kind."""

    @property
    @abc.abstractmethod
    def rate_key(self) -> str:
        """What its requests are counted by, and its idempotency keys kept apart by: `user:…`, `key:…`."""

    @property
    @abc.abstractmethod
    def rate_scope(self) -> str:
        """What `rate_key` stands for, in the words of a 429: "user", "key", "visitor" or "address"."""

    @property
    def budget_key(self) -> str:
        """Whose budget of kept answers its requests use: the tenant's, for keys and visitors."""
        return self.rate_key

    @property
    def is_shared(self) -> bool:
        """Whether many people hold the same credential, as the visitors of a page do its public key."""
        return False

    @property
    def actor_name(self) -> str:
        """What the audit trail calls a caller that is not a user."""
        return ""

    @property
    def actor_key_id(self) -> ObjectId | None:
        """The API key that the audit trail names."""
        return None


@dataclass(frozen=True)
class AnonymousCaller(Caller):
    """A request without a credential. Those of one `network` count as one caller."""

    network: str

    @property
    def rate_key(self) -> str:
        return f"address:{self.network}"

    @property
    def rate_scope(self) -> str:
        return "address"
