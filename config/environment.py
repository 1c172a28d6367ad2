"""Environment variables: type, default, unit and meaning of each.

`config.settings` reads them here. `.env.example` lists the same variables in the same order; a
test compares both.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

_DURATION = re.compile(r"(\d+)(ms|s|m|h|d|w)")
#: In seconds. Of connections, bytes and everything else that is counted more is a mistake as well.
TEN_YEARS = 10 * 365 * 86400
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

#: Shorter secrets can be guessed offline from one signed token (RFC 7518, section 3.2).
SECRET_BYTES = 32

#: Placeholders of examples and repeated characters.
_SAMPLE = re.compile(r"your-|change.?me|example|secret-key|insecure|placeholder|^(.)\1+$", re.IGNORECASE)


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


def networks(name: str, texts: list[str]) -> list[IPv4Network | IPv6Network]:
    """Parse addresses and networks such as `192.0.2.7` or `10.0.0.0/8` of the variable `name`.

    Raises ImproperlyConfigured, which names the variable and the malformed network.
    """
    try:
        return [ip_network(text, strict=False) for text in texts]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from error


@dataclass(frozen=True)
class Variable:
    """One environment variable. `kind` is its type: str, int, float, bool, list or duration.

    `least` and `most` bound numbers and, in seconds, durations.
    """

    name: str
    kind: str
    default: Any
    meaning: str
    least: float = 0
    most: float = TEN_YEARS

    def read(self, env: environ.Env) -> Any:
        if self.kind == "duration":
            try:
                span = duration(env.str(self.name, default="") or self.default)
            except ImproperlyConfigured as error:
                raise ImproperlyConfigured(f"{self.name}: {error}") from error
            self._check(span.total_seconds())
            return span
        if self.kind == "list":
            return [item.strip() for item in env.list(self.name, default=self.default) if item.strip()]
        if env.str(self.name, default="") == "":
            return self.default
        try:
            value = getattr(env, self.kind)(self.name)
        except (ValueError, OverflowError) as error:
            raise ImproperlyConfigured(f"{self.name} must be of type {self.kind}: {self.meaning}") from error
        if self.kind in ("int", "float"):
            self._check(value)
        return value

    def _check(self, value: float) -> None:
        if not self.least <= value <= self.most:  # NaN is refused, too.
            raise ImproperlyConfigured(
                f"{self.name} must be between {self.least:g} and {self.most:.9g}: {self.meaning}"
            )


def read(variables: list[Variable], env_file: Path) -> dict[str, Any]:
    """Return the value of every variable: from the process, else from `env_file`, else its default.

    Tests (DJANGO_ENV=test) don't read the file: they must not depend on a developer's settings, nor use
    real keys.
    """
    env = environ.Env()
    if env_file.exists() and os.environ.get("DJANGO_ENV") != "test":
        env.read_env(env_file)
    return {variable.name: variable.read(env) for variable in variables}


def strong_secret(name: str, value: str, *, required: bool, keep_in: Path) -> str:
    """Return a secret that is strong enough to sign with.

    If `required` (in production), raises ImproperlyConfigured for a missing, short or sample value.
    Otherwise a missing one is generated once and stored, readable by its owner only, in `keep_in`.
    """
    if not value and not required:
        return _stored_secret(keep_in / f"{name.lower()}.txt")
    problem = ""
    if not value:
        problem = "is missing"
    elif _SAMPLE.search(value):
        problem = "still holds a sample value"
    elif len(value.encode()) < SECRET_BYTES:
        problem = f"is shorter than {SECRET_BYTES} bytes"
    if problem and required:
        raise ImproperlyConfigured(
            f"{name} {problem}. Set it to a random value, for example the output of: "
            'python -c "import secrets; print(secrets.token_urlsafe(48))"'
        )
    return value


def _stored_secret(path: Path) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(48))
        # A link is atomic and never overwrites: of two concurrent first starts both read the same secret.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text()


#: In the order of `config.settings`.
VARIABLES = [
    # Server
    Variable("DJANGO_ENV", "str", "development", "development, production or test"),
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
    Variable("TRUSTED_PROXIES", "list", [], "addresses or networks of trusted reverse proxies"),
    Variable(
        "EMAIL_URL",
        "str",
        "consolemail://",
        "mail server: smtp+tls://user:password@host:587; by default the log",
    ),
    Variable("EMAIL_FROM", "str", "noreply@localhost", "sender address of invitations and alerts"),
    Variable("INVITATIONS_PER_RECIPIENT", "int", 3, "invitations mailed to one address a day"),
    Variable("INVITATIONS_PER_TENANT", "int", 50, "invitations mailed for one tenant a day"),
    Variable("INVITATIONS_PER_INVITER", "int", 50, "invitations mailed by one user a day"),
    Variable("LOG_LEVEL", "str", "INFO", "DEBUG, INFO, WARNING or ERROR"),
    Variable("LOG_FORMAT", "str", "", "json or console; by default json in production"),
    # Database and cache
    Variable("MONGODB_URI", "str", "", "MongoDB connection string; empty starts the embedded server"),
    Variable("MONGODB_POOL", "int", 100, "maximum number of database connections per worker", least=1),
    Variable("REDIS_URL", "str", "", "Redis for the shared cache; empty uses MongoDB"),
    Variable("VAR_DIR", "str", "var", "folder for the embedded database, generated secrets and locks"),
    # Turns
    Variable(
        "TURN_LEASE_SECONDS",
        "float",
        15.0,
        "seconds after a worker's last heartbeat until it counts as dead",
        least=0.001,
    ),
    Variable("VISITOR_TOKEN_SECONDS", "int", 3600, "lifetime of a visitor's token in seconds", least=1),
    # Tokens and keys
    Variable("JWT_ACCESS_SECRET", "str", "", "secret, 32 bytes or more: signs access tokens"),
    Variable("JWT_REFRESH_SECRET", "str", "", "another secret, 32 bytes or more: signs refresh tokens"),
    Variable(
        "JWT_ACCESS_EXPIRY", "duration", "15m", "lifetime of an access token (90s, 15m, 12h, 7d)", least=0.001
    ),
    Variable(
        "JWT_REFRESH_EXPIRY", "duration", "7d", "lifetime of a refresh token (90s, 15m, 12h, 7d)", least=0.001
    ),
    Variable("REGISTRATION", "str", "open", "who may register: open, invitation or closed"),
    Variable("CONFIRM_EMAIL", "bool", False, "whether new users confirm their address before they sign in"),
    Variable("MAIL_TOKEN_EXPIRY", "duration", "1h", "lifetime of tokens mailed for passwords and addresses"),
    Variable("DEFAULT_PLAN", "str", "free", "code of the plan of new tenants"),
    Variable("API_KEY_PEPPER", "str", "", "secret, 32 bytes or more: key of the hashes of API keys"),
    # LLM providers
    Variable("GROQ_API_KEY", "str", "", "API key of Groq; empty: not used"),
    Variable("GROQ_BASE_URL", "str", "https://api.groq.com/openai/v1", "base URL of Groq"),
    Variable("GROQ_MODEL", "str", "openai/gpt-oss-120b", "default model of Groq"),
    Variable("GEMINI_API_KEY", "str", "", "API key of Gemini; empty: not used"),
    Variable(
        "GEMINI_BASE_URL",
        "str",
        "https://generativelanguage.googleapis.com/v1beta",
        "base URL of Gemini, with the API version",
    ),
    Variable("GEMINI_MODEL", "str", "gemini-3.5-flash-lite", "default model of Gemini"),
    Variable("OPENROUTER_API_KEY", "str", "", "API key of OpenRouter; empty: not used"),
    Variable("OPENROUTER_BASE_URL", "str", "https://openrouter.ai/api/v1", "base URL of OpenRouter"),
    Variable("OPENROUTER_MODEL", "str", "openai/gpt-oss-120b", "default model of OpenRouter"),
    Variable("OPENAI_COMPATIBLE_API_KEY", "str", "", "API key of another OpenAI-compatible server; optional"),
    Variable("OPENAI_COMPATIBLE_BASE_URL", "str", "", "base URL of that server; empty: not used"),
    Variable("OPENAI_COMPATIBLE_MODEL", "str", "", "default model of that server"),
    Variable("LOCAL_BASE_URL", "str", "", "base URL of the local model's server; set by `manage.py serve`"),
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
        "LLM_FIRST_TOKEN_SECONDS", "float", 10.0, "seconds until the first token of an answer", least=0.001
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
