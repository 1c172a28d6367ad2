"""System checks: an unreadable catalogue or default route prevents the start."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from llm.catalogue import catalogue
from llm.route import default_route


@checks.register("llm")
def llm_settings(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    found: list[checks.CheckMessage] = []
    try:
        catalogue()
    except ImproperlyConfigured as error:
        found.append(checks.Error(str(error), hint="See LLM_CATALOGUE.", id="llm.E001"))
    try:
        default_route()
    except ValueError as error:
        found.append(checks.Error(str(error), hint="See LLM_ROUTE.", id="llm.E002"))
    return found
