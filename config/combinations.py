"""Settings that are missing in production, unsafe together, or that name what does not exist."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from config.environment import one_of

#: https://hstspreload.org/#submission-requirements
PRELOAD_SECONDS = 365 * 86400


def check(env: dict[str, Any], problems: list[str], *, production: bool, providers: Sequence[str]) -> None:
    """Add a sentence for each problem between the variables `env`, unless `problems` name its variable."""
    named = {problem.split()[0].rstrip(":") for problem in problems}
    found = [*(_in_production(env) if production else ()), *_anywhere(env, providers)]
    problems += [problem for problem in found if problem.split()[0].rstrip(":") not in named]


def _in_production(env: dict[str, Any]) -> Iterator[str]:
    if not env["ALLOWED_HOSTS"]:
        yield "ALLOWED_HOSTS is missing. Name the hosts served, comma-separated."
    if not env["MONGODB_URI"]:
        yield "MONGODB_URI is missing. The embedded server is for development only."
    if env["JWT_ACCESS_SECRET"] and env["JWT_ACCESS_SECRET"] == env["JWT_REFRESH_SECRET"]:
        yield "JWT_ACCESS_SECRET and JWT_REFRESH_SECRET must be two different secrets."
    needs_mail = env["CONFIRM_EMAIL"] or env["REGISTRATION"] == "invitation"
    if needs_mail and env["EMAIL_URL"].startswith("consolemail:"):
        yield (
            "EMAIL_URL is missing. CONFIRM_EMAIL=True and REGISTRATION=invitation need a mail server: "
            "smtp+tls://user:password@host:587."
        )


def _anywhere(env: dict[str, Any], providers: Sequence[str]) -> Iterator[str]:
    if env["HSTS_PRELOAD"] and not (
        env["HSTS_INCLUDE_SUBDOMAINS"] and env["HSTS_SECONDS"] >= PRELOAD_SECONDS
    ):
        yield f"HSTS_PRELOAD needs HSTS_INCLUDE_SUBDOMAINS=True and HSTS_SECONDS={PRELOAD_SECONDS} or more."
    for target in env["LLM_ROUTE"]:
        if target.partition("/")[0] not in providers:
            yield f"LLM_ROUTE: {target!r} names no provider. Use {one_of(providers)}."
    if env["LLM_CATALOGUE"] and not Path(env["LLM_CATALOGUE"]).is_file():
        yield f"LLM_CATALOGUE: there is no file {env['LLM_CATALOGUE']}."
