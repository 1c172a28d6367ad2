"""URLs of a resource: its list, one of it by id, and actions on one."""

from __future__ import annotations

from rest_framework.routers import DynamicRoute, Route, SimpleRouter


class ResourceRouter(SimpleRouter):
    """Registers a viewset without trailing slashes, with path converters instead of regular expressions.

    For the basename `webhook` the URL names are `webhooks` (list and create), `webhook` (one by its id) and,
    for an action `test`, what `action_name` makes of it.
    """

    def __init__(self, action_name: str = "{url_name}-{basename}") -> None:
        self.routes = [
            Route("{prefix}", {"get": "list", "post": "create"}, "{basename}s", detail=False, initkwargs={}),
            Route(
                "{prefix}/{lookup}",
                {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"},
                "{basename}",
                detail=True,
                initkwargs={},
            ),
            DynamicRoute("{prefix}/{lookup}/{url_path}", action_name, detail=True, initkwargs={}),
        ]
        super().__init__(trailing_slash=False, use_regex_path=False)
