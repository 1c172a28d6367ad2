"""Settings of the whole project: one file of values.

They come from the environment variables in `config.environment`, which has the type, default and
unit of each. `DJANGO_ENV` is development, production or test.
"""

from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from config import combinations, environment, strong_secrets, web_settings
from config.log_settings import logging_of
from core.origins import normalised_origin

BASE_DIR = Path(__file__).resolve().parent.parent

#: A sentence for everything that is wrong; the last line refuses to start with any.
_env, _problems = environment.read(environment.VARIABLES, BASE_DIR / ".env")

# -- Server -------------------------------------------------------------------

DJANGO_ENV = _env["DJANGO_ENV"]
PRODUCTION = DJANGO_ENV == "production"
DEBUG = False  # Error pages must never show settings and source; the log has the traceback.

PORT = _env["PORT"]
HOST = _env["HOST"]
WORKERS = _env["WORKERS"]
THREADS = _env["THREADS"]
STREAMS = _env["STREAMS"]
CONNECTIONS = _env["CONNECTIONS"]
DATA_UPLOAD_MAX_MEMORY_SIZE = _env["MAX_BODY_BYTES"]
COMPLETIONS_MAX_BODY_BYTES = _env["COMPLETIONS_MAX_BODY_BYTES"]
BODY_MEMORY_BYTES = _env["BODY_MEMORY_BYTES"]
DRAIN_SECONDS = _env["DRAIN_SECONDS"]
VAR_DIR = BASE_DIR / _env["VAR_DIR"]


def _secret(name: str) -> str:
    keep_in = VAR_DIR / "secrets"
    return strong_secrets.strong_secret(name, _env[name], _problems, required=PRODUCTION, keep_in=keep_in)


SECRET_KEY = _secret("SECRET_KEY")
ALLOWED_HOSTS = _env["ALLOWED_HOSTS"] or ([] if PRODUCTION else ["*"])

TRUSTED_PROXIES = web_settings.proxies(_env["TRUSTED_PROXIES"], _problems)
PROXIES_ARE_NAMED = bool(_env["TRUSTED_PROXIES"])  # If only as `none`.
# Where a proxy changes Host or port, a browser's Origin is not what Django derives from the request.
_public = urlsplit(_env["PUBLIC_URL"])
_public_origin = [f"{_public.scheme}://{_public.netloc}"] if _public.netloc else []
CSRF_TRUSTED_ORIGINS = web_settings.origins([*_env["TRUSTED_ORIGINS"], *_public_origin], _problems)
PATH_PREFIX = web_settings.path_prefix(_env["PATH_PREFIX"] or _public.path, _problems)
FORCE_SCRIPT_NAME = PATH_PREFIX or None
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = PATH_PREFIX or "/"

# EMAIL_BACKEND, EMAIL_HOST and so on.
vars().update(web_settings.email(_env["EMAIL_URL"], _problems, production=PRODUCTION))
EMAIL_TIMEOUT = 10  # seconds
DEFAULT_FROM_EMAIL = _env["EMAIL_FROM"]
# Without the setting: the first host served, or the developer's own machine.
_own_url = (
    f"https://{ALLOWED_HOSTS[0].lstrip('*.')}" if PRODUCTION and ALLOWED_HOSTS else f"http://{HOST}:{PORT}"
)
PUBLIC_URL = web_settings.public_url(_env["PUBLIC_URL"] or f"{_own_url}{PATH_PREFIX}", _problems)

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = False
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
USE_I18N = False

INSTALLED_APPS = [
    "core.mongo",
    "console.apps.ConsoleConfig",
    "core.mongo.contrib.AuthConfig",
    "core.mongo.contrib.ContentTypesConfig",
    "core.audit",
    "core.jobs",
    "config.launch",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "csp",
    "django_filters",
    "django_ratelimit",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "rest_framework",
    "accounts",
    "tenants",
    "llm",
    "chat",
]
if not PRODUCTION:
    INSTALLED_APPS.append("qa")

MIDDLEWARE = [
    "core.api.middleware.RequestContext",
    "core.api.middleware.CachePolicy",
    "core.api.middleware.RequestBounds",
    "core.api.middleware.RejectWhileDraining",
    "core.api.proxies.ForwardedHeaders",
    "core.api.proxies.ProbeHost",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "core.csp.ContentSecurityPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

STATIC_URL = f"{PATH_PREFIX}/static/"
# Production serves collected copies; elsewhere the files are served from their apps.
STATIC_ROOT = BASE_DIR / "staticfiles" if PRODUCTION else None
WHITENOISE_USE_FINDERS = not PRODUCTION
# Where files may change they are looked up when requested, instead of listed at each start.
WHITENOISE_AUTOREFRESH = not PRODUCTION

# -- Database and cache -------------------------------------------------------

MONGODB_URI = _env["MONGODB_URI"]

DATABASES = {
    "default": {
        "ENGINE": "core.mongo.engine",
        # If empty, the engine starts or joins the embedded server at the first connection.
        "HOST": MONGODB_URI,
        "NAME": urlsplit(MONGODB_URI).path.strip("/") or "chat-agent",
        "OPTIONS": {
            "w": "majority",
            "retryWrites": True,
            "serverSelectionTimeoutMS": 3000,
            "connectTimeoutMS": 2000,
            "maxPoolSize": _env["MONGODB_POOL"],
            "appname": "chat-agent-platform",
        },
    }
}
DATABASE_ROUTERS = ["django_mongodb_backend.routers.MongoRouter"]
DEFAULT_AUTO_FIELD = "django_mongodb_backend.fields.ObjectIdAutoField"
MIGRATION_MODULES = {app: f"core.mongo.contrib_migrations.{app}" for app in ("admin", "auth", "contenttypes")}
SESSION_ENGINE = "console.sessions"
SESSION_COOKIE_AGE = 14 * 24 * 3600

# What may be lost or counted anew is in Redis where there is one; what is kept, in collections of its own.
CACHES = {
    "default": {"BACKEND": "core.mongo.cache.MongoCache", "LOCATION": "cache"},
    "rates": {"BACKEND": "core.mongo.cache.RateLimitCache", "LOCATION": "cache"},
    "answers": {"BACKEND": "core.mongo.cache.MongoCache", "LOCATION": "kept_answers"},
    "sessions": {"BACKEND": "core.mongo.cache.MongoCache", "LOCATION": "console_sessions"},
}
if _env["REDIS_URL"]:
    _redis = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": _env["REDIS_URL"]}
    CACHES |= {"default": _redis, "rates": _redis}

# -- Jobs ---------------------------------------------------------------------

# Periodic background jobs: command -> how often. `serve` runs them, unless JOBS is false.
RUN_JOBS = _env["JOBS"]
JOBS = {
    "deliver_webhooks": timedelta(seconds=2),
    "send_usage_alerts": timedelta(minutes=5),
    "rollup_analytics": timedelta(days=1),
    "prune": timedelta(days=1),
    "purge_tenants": timedelta(days=1),
}

# -- Turns --------------------------------------------------------------------

# A worker renews the leases of its running turns every quarter of this time.
TURN_LEASE_SECONDS = _env["TURN_LEASE_SECONDS"]
VISITOR_TOKEN_SECONDS = _env["VISITOR_TOKEN_SECONDS"]

# -- Users and tokens ---------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.backends.EmailBackend"]
PASSWORD_HASHERS = ["accounts.passwords.Argon2Hasher"]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ["email", "name"]},
    },
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

JWT_REFRESH_SECRET = _secret("JWT_REFRESH_SECRET")
SIMPLE_JWT = {
    "ALGORITHM": "HS256",
    "SIGNING_KEY": _secret("JWT_ACCESS_SECRET"),
    "ACCESS_TOKEN_LIFETIME": _env["JWT_ACCESS_EXPIRY"],
    "REFRESH_TOKEN_LIFETIME": _env["JWT_REFRESH_EXPIRY"],
    "ISSUER": "chat-agent-platform",
    "AUDIENCE": "chat-agent-platform",
    "LEEWAY": 30,  # seconds by which the clock of a machine that issues tokens may be ahead
    "USER_ID_CLAIM": "sub",
    "AUTH_HEADER_TYPES": ("Bearer",),
    "TOKEN_OBTAIN_SERIALIZER": None,
}
REGISTRATION = _env["REGISTRATION"]
# Called with a token and an e-mail address; accounts stands below tenants.
INVITATION_CHECK = "tenants.models.invitation.is_invited"
CONFIRM_EMAIL = _env["CONFIRM_EMAIL"]
PASSWORD_RESET_TIMEOUT = int(_env["MAIL_TOKEN_EXPIRY"].total_seconds())
DEFAULT_PLAN = _env["DEFAULT_PLAN"]
API_KEY_PEPPER = _secret("API_KEY_PEPPER")

# -- REST ---------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["tenants.authentication.MemberAuthentication"],
    # Closed by default: a view without a policy of its own is for signed-in users only.
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_THROTTLE_CLASSES": ["core.api.throttling.EndpointRate"],
    "DEFAULT_PARSER_CLASSES": ["core.api.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "core.api.negotiation.JSONNegotiation",
    "DEFAULT_FILTER_BACKENDS": [],
    "DEFAULT_PAGINATION_CLASS": "core.api.pagination.CursorPages",
    "DEFAULT_SCHEMA_CLASS": "core.api.schema.Schema",
    "EXCEPTION_HANDLER": "core.api.errors.exception_handler",
    "DATETIME_FORMAT": "iso-8601",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "URL_FORMAT_OVERRIDE": None,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Chat Agent Platform",
    "DESCRIPTION": "Tenants, API keys, chat sessions and assistants behind one API.",
    "VERSION": "0.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    **({"SERVERS": [{"url": PATH_PREFIX}]} if PATH_PREFIX else {}),
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "RoleEnum": "tenants.models.membership.Role",
        "SessionStatusEnum": "chat.models.ChatSession.Status",
    },
}

# Pages of other origins call the API, and neither the console nor the endpoints of operators.
CORS_URLS_REGEX = r"^/(?:api|v1)/"
CORS_ALLOW_ALL_ORIGINS = "*" in _env["CORS_ORIGIN"]
CORS_ALLOWED_ORIGINS = [normalised_origin(origin) for origin in _env["CORS_ORIGIN"] if origin != "*"]
CORS_ALLOW_HEADERS = [
    # Any header: clients add their own, such as x-stainless-os. It does not stand for `authorization`.
    "*",
    "accept",
    "authorization",
    "content-type",
    "idempotency-key",
    "if-match",
    "last-event-id",
    "x-api-key",
    "x-request-id",
]
CORS_EXPOSE_HEADERS = [
    "etag",
    "idempotent-replayed",
    "location",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "visitor-token",
    "x-request-id",
]

# -- Limits -------------------------------------------------------------------

# Requests per endpoint and caller (user, key, visitor, or address): "count/period".
RATES = {
    "default": "600/m",
    "auth.register": "10/h",
    "auth.login": "10/m",
    "auth.refresh": "60/m",
    "auth.password": "10/m",
    "auth.mail": "10/h",
    # Mails to one address that are asked for without signing in; further requests send none.
    "auth.mails": "3/h",
    # Failed logins with one e-mail address from one network address; then 429 until the period ends.
    "auth.failures": "5/15m",
    "tenants.create": "30/h",
    # Changes of accounts, tenants and what they own: the audit trail keeps each for good.
    "changes": "2000/d",
    "tenants.keys": "60/m",
    # Mails; see tenants.views.invitations.
    "invitations.recipient": f"{_env['INVITATIONS_PER_RECIPIENT']}/d",
    "invitations.tenant": f"{_env['INVITATIONS_PER_TENANT']}/d",
    "invitations.inviter": f"{_env['INVITATIONS_PER_INVITER']}/d",
    "llm.test": "6/m",
    "chat.messages": "120/m",
    # Conversations that one network opens with a public key.
    "chat.sessions": "30/m",
    # Requests below a tenant whose body was refused: malformed, too large or invalid.
    "refused_bodies": "300/m",
}
# Kept answers to Idempotency-Keys, in bytes: of one answer, and of a tenant or user in a day.
IDEMPOTENCY_ANSWER_BYTES = 64 * 1024
IDEMPOTENCY_CALLER_BYTES = 4 * 1024 * 1024
RATELIMIT_USE_CACHE = "rates"
RATELIMIT_FAIL_OPEN = False
# django-ratelimit accepts only memcached and django-redis; ours is shared and counts atomically (tested).
SILENCED_SYSTEM_CHECKS = ["django_ratelimit.W001"]

# -- LLM ----------------------------------------------------------------------

LLM_PROVIDERS = {
    name: {
        "api_key": _env.get(f"{name.upper()}_API_KEY", ""),
        "base_url": _env[f"{name.upper()}_BASE_URL"],
        "model": _env[f"{name.upper()}_MODEL"],
    }
    for name in ("groq", "gemini", "openrouter", "openai_compatible", "local")
}
LLM_ROUTE = _env["LLM_ROUTE"]
LLM_CATALOGUE = _env["LLM_CATALOGUE"]
LLM_CONNECT_SECONDS = _env["LLM_CONNECT_SECONDS"]
LLM_FIRST_TOKEN_SECONDS = _env["LLM_FIRST_TOKEN_SECONDS"]
LLM_BETWEEN_TOKENS_SECONDS = _env["LLM_BETWEEN_TOKENS_SECONDS"]
LLM_TOTAL_SECONDS = _env["LLM_TOTAL_SECONDS"]
LLM_RETRY_AFTER_SECONDS = _env["LLM_RETRY_AFTER_SECONDS"]
LLM_MAX_ATTEMPTS = _env["LLM_MAX_ATTEMPTS"]
LLM_BREAKER_FAILURES = _env["LLM_BREAKER_FAILURES"]
LLM_BREAKER_SECONDS = _env["LLM_BREAKER_SECONDS"]
LLM_MAX_REPLY_BYTES = _env["LLM_MAX_REPLY_BYTES"]
LLM_POOL = _env["LLM_POOL"]

# -- Security -----------------------------------------------------------------

X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = PRODUCTION
CSRF_COOKIE_SECURE = PRODUCTION
CSRF_FAILURE_VIEW = "core.api.errors.csrf_failure"
SECURE_SSL_REDIRECT = False  # A proxy terminates TLS; an API must not redirect a key sent in clear text.
SECURE_HSTS_SECONDS = _env["HSTS_SECONDS"] if PRODUCTION else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = _env["HSTS_INCLUDE_SUBDOMAINS"]
SECURE_HSTS_PRELOAD = _env["HSTS_PRELOAD"]
if PRODUCTION:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    # See SECURE_SSL_REDIRECT. How strict HSTS is, is the operator's choice: it concerns other servers, too.
    SILENCED_SYSTEM_CHECKS += ["security.W004", "security.W005", "security.W008", "security.W021"]

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}

# -- Logs ---------------------------------------------------------------------

LOG_FORMAT = _env["LOG_FORMAT"] or ("json" if PRODUCTION else "console")
LOGGING = logging_of(_env["LOG_LEVEL"], LOG_FORMAT)

combinations.check(_env, _problems, production=PRODUCTION, providers=[*LLM_PROVIDERS])
environment.require_valid(_problems)
