"""What happens to accounts, told to whoever keeps records; this app knows of none.

tenants.people puts it into the audit trail.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Model
from django.dispatch import Signal
from django.http import HttpRequest
from rest_framework.request import Request

#: With `action`, `target`, `request` and `changes`, as `tell` takes them.
account_changed = Signal()

#: With `action`, `reason`, `email`, `user` and `request`, as `tell_refusal` takes them.
account_refused = Signal()


def tell(
    action: str,
    target: Model,
    request: HttpRequest | Request | None = None,
    changes: dict[str, tuple[Any, Any]] | None = None,
) -> None:
    """Tell that `action` was done to `target`: by the user of `request`, or by `target` if that is nobody.

    Without a request it was a command. `changes` is {field: (before, after)}, without secrets.
    """
    account_changed.send(sender=None, action=action, target=target, request=request, changes=changes)


def tell_refusal(
    action: str, reason: str, request: HttpRequest | Request, *, email: str, user: Model | None = None
) -> None:
    """Tell what somebody was not let do with the account of `email`; `user` None where nobody has looked."""
    account_refused.send(sender=None, action=action, reason=reason, request=request, email=email, user=user)
