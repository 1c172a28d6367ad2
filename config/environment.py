"""Environment variables: type, default, unit and meaning of each.

`config.settings` reads them here. `.env.example` lists the same variables in the same order; a
test compares both.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from environ import Env

from config.env_file import env_file_values

_DURATION = re.compile(r"(\d+)(ms|s|m|h|d|w)")
#: In seconds. Of connections, bytes and everything else that is counted more is a mistake as well.
TEN_YEARS = 10 * 365 * 86400
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def duration(text: str) -> timedelta:
    """Parse `15m`, `7d`, `90s`, `250ms` or a number of seconds."""
    text = str(text).strip()
    try:
        match = _DURATION.fullmatch(text)
        seconds = int(match[1]) * _SECONDS[match[2]] if match else float(text)
    except (ValueError, OverflowError):
        seconds = -1
    if not 0 <= seconds <= TEN_YEARS:
        raise ImproperlyConfigured(f"{text[:40]!r} is not a duration: write 90s, 15m, 12h or 7d.")
    return timedelta(seconds=seconds)


def boolean(text: str) -> bool:
    """Parse true, yes, on, 1 and their opposites, in any case. Raises ValueError."""
    if text.lower() not in _BOOLEANS:
        raise ValueError(text)
    return _BOOLEANS[text.lower()]


def number(text: str) -> float:
    """Parse a number as Python writes it. Raises ValueError; the cast of `environ` reads `1e3` as 13."""
    return float(text)


#: What `environ.Env` casts a text with, by the kind of the variable.
_CASTS: dict[str, Callable[[str], Any]] = {"int": int, "float": number, "bool": boolean, "str": str}


@dataclass(frozen=True)
class Variable:
    """One environment variable. `kind` is its type: str, int, float, bool, list, duration or url.

    `least` and `most` bound numbers and, in seconds, durations; `choices` are the texts that are accepted.
    A url begins with one of `schemes`.
    """

    name: str
    kind: str
    default: Any
    meaning: str
    least: float = 0
    most: float = TEN_YEARS
    choices: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ("http", "https")

    def value_of(self, text: str) -> Any:
        """Return what `text` means, the default for "".

        Raises ImproperlyConfigured with a sentence that names the variable.
        """
        if text.strip() == "":
            return duration(self.default) if self.kind == "duration" else self.default
        if self.kind == "list":
            return [item.strip() for item in Env.parse_value(text, list) if item.strip()]
        value = self._parsed(text)
        if self.choices and value not in self.choices:
            raise ImproperlyConfigured(f"{self.name} must be {one_of(self.choices)}.")
        number = value.total_seconds() if isinstance(value, timedelta) else value
        if self.kind in ("int", "float", "duration") and not self.least <= number <= self.most:  # nor NaN
            raise ImproperlyConfigured(
                f"{self.name} must be between {self.least:g} and {self.most:.9g}: {self.meaning}"
            )
        return value

    def _parsed(self, text: str) -> Any:
        if self.kind == "duration":
            try:
                return duration(text)
            except ImproperlyConfigured as error:
                raise ImproperlyConfigured(f"{self.name}: {error}") from error
        if self.kind == "url":
            return self._parsed_url(text.strip())
        try:
            return Env.parse_value(text.strip(), _CASTS[self.kind])
        except (ValueError, OverflowError) as error:
            raise ImproperlyConfigured(f"{self.name} must be of type {self.kind}: {self.meaning}") from error

    def _parsed_url(self, text: str) -> str:
        """Return a URL as it is. It may hold a password, so no message repeats it."""
        scheme, separator, rest = text.partition("://")
        if not separator or scheme.lower() not in self.schemes or not rest or rest.startswith("/"):
            allowed = one_of([f"{scheme}://" for scheme in self.schemes])
            raise ImproperlyConfigured(f"{self.name} must begin with {allowed} and a host: {self.meaning}")
        return text


def one_of(texts: Sequence[str]) -> str:
    """Return `a, b or c`."""
    return " or ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))


def read(variables: list[Variable], env_file: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the value of every variable, with the default for a wrong one, and the problems.

    A variable's value is that of the process, else of `env_file`, else its default. Tests (DJANGO_ENV=test)
    don't read the file: they must not depend on a developer's settings, nor use real keys.
    """
    problems: list[str] = []
    if os.environ.get("DJANGO_ENV") != "test":
        for name, text in env_file_values(env_file, problems).items():
            os.environ.setdefault(name, text)
    values = {}
    for variable in variables:
        try:
            values[variable.name] = variable.value_of(os.environ.get(variable.name, ""))
        except ImproperlyConfigured as error:
            problems.append(str(error))
            values[variable.name] = variable.value_of("")
    return values, problems


def require_valid(problems: list[str]) -> None:
    """Raise ImproperlyConfigured with all `problems`, if there are any."""
    if problems:
        lines = "".join(f"\n- {problem}" for problem in problems)
        raise ImproperlyConfigured(f"Change these settings, in the environment or in .env:{lines}")


#: In the order of `config.settings`.
VARIABLES = [
    # Server
    Variable(
        "DJANGO_ENV",
        "str",
        "development",
        "development, production or test",
        choices=("development", "production", "test"),
    ),
    Variable("PORT", "int", 3001, "TCP port to serve on", least=1, most=65535),
    Variable("HOST", "str", "127.0.0.1", "address to listen on; 0.0.0.0 for every interface"),
    Variable("WORKERS", "int", 0, "server processes; 0 means one per processor core", most=1024),
    Variable(
        "THREADS", "int", 16, "requests processed at once per worker; running turns do not count", least=1
    ),
    Variable("STREAMS", "int", 1000, "running turns and open streams per worker", least=1),
    Variable("CONNECTIONS", "int", 4000, "open connections per worker", least=1),
    Variable("MAX_BODY_BYTES", "int", 2**20, "bytes of a request body", least=2**16, most=2**30),
    Variable(
        "COMPLETIONS_MAX_BODY_BYTES",
        "int",
        20 * 2**20,
        "bytes of a body of /v1/chat/completions, with its images and documents",
        least=2**16,
        most=2**30,
    ),
    Variable(
        "BODY_MEMORY_BYTES",
        "int",
        256 * 2**20,
        "memory per worker for unfinished bodies and for large requests; one client address has a quarter",
        least=2**20,
    ),
    Variable(
        "JOBS",
        "bool",
        True,
        "whether serve also runs periodic jobs: webhooks, alerts, retention",
    ),
    Variable("DRAIN_SECONDS", "float", 30.0, "seconds a server that shuts down waits for running turns"),
    Variable("SECRET_KEY", "str", "", "secret, 32 bytes or more: signs console sessions, seals kept answers"),
    Variable("ALLOWED_HOSTS", "list", [], "host names to serve, comma-separated; any in development"),
    Variable("CORS_ORIGIN", "list", ["*"], "origins of browser clients, comma-separated; * for any"),
    Variable(
        "TRUSTED_PROXIES",
        "list",
        [],
        "addresses or networks of the reverse proxies in front; none if clients connect directly",
    ),
    Variable(
        "TRUSTED_ORIGINS",
        "list",
        [],
        "origins at which the console is opened, where a proxy changes Host or port: https://chat.example.com:8443",
    ),
    Variable("PATH_PREFIX", "str", "", "path below which a proxy serves all of this, such as /assistant"),
    Variable("HSTS_SECONDS", "int", 3600, "seconds for which browsers use https only, in production"),
    Variable("HSTS_INCLUDE_SUBDOMAINS", "bool", False, "whether that is for all subdomains, too"),
    Variable("HSTS_PRELOAD", "bool", False, "whether browsers may build that in; hard to undo"),
    Variable(
        "EMAIL_URL",
        "str",
        "consolemail://",
        "mail server: smtp+tls://user:password@host:587; by default the log, in production no mail",
    ),
    Variable(
        "PUBLIC_URL",
        "str",
        "",
        "URL at which browsers find all of this, with port and path: links in mails begin with it",
    ),
    Variable("EMAIL_FROM", "str", "noreply@localhost", "sender address of invitations and alerts"),
    Variable("INVITATIONS_PER_RECIPIENT", "int", 3, "invitations mailed to one address a day"),
    Variable("INVITATIONS_PER_TENANT", "int", 50, "invitations mailed for one tenant a day"),
    Variable("INVITATIONS_PER_INVITER", "int", 50, "invitations mailed by one user a day"),
    Variable(
        "LOG_LEVEL",
        "str",
        "INFO",
        "DEBUG, INFO, WARNING or ERROR",
        choices=("DEBUG", "INFO", "WARNING", "ERROR"),
    ),
    Variable(
        "LOG_FORMAT", "str", "", "json or console; by default json in production", choices=("json", "console")
    ),
    # Database and cache
    Variable(
        "MONGODB_URI",
        "url",
        "",
        "MongoDB connection string; empty starts the embedded server",
        schemes=("mongodb", "mongodb+srv"),
    ),
    Variable("MONGODB_POOL", "int", 100, "maximum number of database connections per worker", least=1),
    Variable(
        "REDIS_URL",
        "url",
        "",
        "Redis for the shared cache; empty uses MongoDB",
        schemes=("redis", "rediss"),
    ),
    Variable("VAR_DIR", "str", "var", "folder for the embedded database, generated secrets and locks"),
    # Turns
    Variable(
        "TURN_LEASE_SECONDS",
        "float",
        15.0,
        "seconds after a worker's last heartbeat until it counts as dead",
        least=0.001,
    ),
    Variable(
        "VISITOR_TOKEN_SECONDS",
        "int",
        7_776_000,
        "seconds without use after which a visitor's token ends",
        least=1,
    ),
    # Tokens and keys
    Variable("JWT_ACCESS_SECRET", "str", "", "secret, 32 bytes or more: signs access tokens"),
    Variable("JWT_REFRESH_SECRET", "str", "", "another secret, 32 bytes or more: signs refresh tokens"),
    Variable(
        "JWT_ACCESS_EXPIRY", "duration", "15m", "lifetime of an access token (90s, 15m, 12h, 7d)", least=0.001
    ),
    Variable(
        "JWT_REFRESH_EXPIRY", "duration", "7d", "lifetime of a refresh token (90s, 15m, 12h, 7d)", least=0.001
    ),
    Variable(
        "REGISTRATION",
        "str",
        "open",
        "who may register: open, invitation or closed",
        choices=("open", "invitation", "closed"),
    ),
    Variable("CONFIRM_EMAIL", "bool", False, "whether new users confirm their address before they sign in"),
    Variable("MAIL_TOKEN_EXPIRY", "duration", "1h", "lifetime of tokens mailed for passwords and addresses"),
    Variable("DEFAULT_PLAN", "str", "free", "code of the plan of new tenants"),
    Variable("API_KEY_PEPPER", "str", "", "secret, 32 bytes or more: key of the hashes of API keys"),
    # LLM providers
    Variable("GROQ_API_KEY", "str", "", "API key of Groq; empty: not used"),
    Variable("GROQ_BASE_URL", "url", "https://api.groq.com/openai/v1", "base URL of Groq"),
    Variable("GROQ_MODEL", "str", "openai/gpt-oss-120b", "default model of Groq"),
    Variable("GEMINI_API_KEY", "str", "", "API key of Gemini; empty: not used"),
    Variable(
        "GEMINI_BASE_URL",
        "url",
        "https://generativelanguage.googleapis.com/v1beta",
        "base URL of Gemini, with the API version",
    ),
    Variable("GEMINI_MODEL", "str", "gemini-3.5-flash-lite", "default model of Gemini"),
    Variable("OPENROUTER_API_KEY", "str", "", "API key of OpenRouter; empty: not used"),
    Variable("OPENROUTER_BASE_URL", "url", "https://openrouter.ai/api/v1", "base URL of OpenRouter"),
    Variable("OPENROUTER_MODEL", "str", "openai/gpt-oss-120b", "default model of OpenRouter"),
    Variable("OPENAI_COMPATIBLE_API_KEY", "str", "", "API key of another OpenAI-compatible server; optional"),
    Variable("OPENAI_COMPATIBLE_BASE_URL", "url", "", "base URL of that server; empty: not used"),
    Variable("OPENAI_COMPATIBLE_MODEL", "str", "", "default model of that server"),
    Variable("LOCAL_BASE_URL", "url", "", "base URL of the local model's server; set by `manage.py serve`"),
    Variable("LOCAL_MODEL", "str", "smollm2-135m-instruct", "name of the local model"),
    Variable("LLM_ROUTE", "list", [], "default route: provider or provider/model, comma-separated"),
    Variable(
        "LLM_CATALOGUE",
        "str",
        "",
        "JSON file of models and prices that extend the built-in catalogue",
    ),
    # LLM limits
    Variable("LLM_CONNECT_SECONDS", "float", 5.0, "seconds to connect to a provider", least=0.001),
    Variable(
        "LLM_FIRST_TOKEN_SECONDS",
        "float",
        10.0,
        "seconds until the first token of an answer; of models that think a multiple (docs/failover.md)",
        least=0.001,
    ),
    Variable(
        "LLM_BETWEEN_TOKENS_SECONDS", "float", 10.0, "seconds between two tokens of an answer", least=0.001
    ),
    Variable(
        "LLM_TOTAL_SECONDS", "float", 120.0, "seconds for a complete answer with all attempts", least=0.001
    ),
    Variable(
        "LLM_RETRY_AFTER_SECONDS",
        "float",
        10.0,
        "longest Retry-After to wait for, in seconds",
    ),
    Variable("LLM_MAX_ATTEMPTS", "int", 8, "maximum number of calls to providers per answer", least=1),
    Variable(
        "LLM_BREAKER_FAILURES", "int", 5, "consecutive failures that open a target's circuit breaker", least=1
    ),
    Variable("LLM_BREAKER_SECONDS", "float", 10.0, "seconds until an open circuit breaker is probed"),
    Variable(
        "LLM_MAX_REPLY_BYTES", "int", 8_388_608, "maximum size of a provider's answer in bytes", least=1024
    ),
    Variable("LLM_POOL", "int", 256, "connections kept open per worker and provider", least=1),
]
