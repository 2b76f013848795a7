"""Every setting of the clearinghouse, read from the environment once; docs/settings.md explains each."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from clearinghouse import environment as env
from clearinghouse.console import UNFOLD as UNFOLD

BASE_DIR = Path(__file__).resolve().parent.parent
LOCAL_DIR = Path(env.text("LOCAL_DIR", str(BASE_DIR / ".local"))).resolve()


def _secret_key() -> str:
    """SECRET_KEY, or one that is made once and kept readable by its owner only under LOCAL_DIR."""
    given = env.text("SECRET_KEY")
    if given:
        if len(given) < 32:
            raise env.SettingError("SECRET_KEY must have at least 32 characters.")
        return given
    path = LOCAL_DIR / "secret_key"
    if not path.exists():
        _keep_once(path, secrets.token_urlsafe(48))
    return path.read_text()


def _keep_once(path: Path, text: str) -> None:
    """Writes a file of our own whole or not at all; of several processes that start at once the first one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(draft)
    Path(draft).unlink()


def _database_url() -> str:
    """DATABASE_URL's default: the embedded PostgreSQL that runs under LOCAL_DIR."""
    path = LOCAL_DIR / "database_url"
    return path.read_text().strip() if path.exists() else "postgresql://clearinghouse@127.0.0.1/clearinghouse"


# -- Django ------------------------------------------------------------------------------------------------

SECRET_KEY = _secret_key()
SECRET_KEY_FALLBACKS = env.names("SECRET_KEY_FALLBACKS")
DEBUG = False
ALLOWED_HOSTS = env.names("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
WEB_URL = env.url("WEB_URL", "http://127.0.0.1:8000")
SIGNER_URL = env.url("SIGNER_URL", "http://127.0.0.1:8935")
CSRF_TRUSTED_ORIGINS = [WEB_URL]
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES")

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "accounts.apps.ConsoleConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "rest_framework",
    "drf_spectacular",
    "accounts",
    "billing",
    "signing",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "clearinghouse.security.ContentSecurityPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "accounts.refusals.RefusalsAreKept",
    "allauth.account.middleware.AccountMiddleware",
]
ROOT_URLCONF = "clearinghouse.urls"
WSGI_APPLICATION = "clearinghouse.wsgi.application"
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
                "accounts.context.shell",
            ],
            "builtins": ["accounts.templatetags.page", "billing.templatetags.money", "billing.templatetags.work"],
        },
    }
]
DATABASES = {
    "default": {
        **env.database("DATABASE_URL", _database_url()),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 5},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
FORMAT_MODULE_PATH = "clearinghouse.formats"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = Path(env.text("STATIC_ROOT", str(LOCAL_DIR / "static")))
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

_https = WEB_URL.startswith("https://")
SESSION_COOKIE_SECURE = _https
CSRF_COOKIE_SECURE = _https
SECURE_HSTS_SECONDS = 31_536_000 if _https else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# -- Who ---------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
    "accounts.role_backend.RoleBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "overview"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_SIGNUP_FORM_CLASS = "accounts.forms.SignupForm"
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_CONFIRM_EMAIL_ON_GET = False
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = True
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if _https else "http"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
STAFF_MFA_REQUIRED = env.flag("STAFF_MFA_REQUIRED", default=True)
APPROVAL_HOURS = env.integer("APPROVAL_HOURS", 72, minimum=1, maximum=720)
# Functions that say how much waits for a person behind a door of the staff, by the door's name.
STAFF_WAITING = {"staff_refunds": "billing.attention.refunds_waiting", "risk": "billing.attention.banks_waiting"}
# Functions that say whether something of before a moment may be unbooked, because nobody looked for it since.
BOOKS_WAIT_FOR = ["billing.reconciliation.poller.waits_since", "signing.booked.waits_since"]
# Modules that export KINDS: what can be asked for and needs a second person.
APPROVABLE: list[str] = [
    "accounts.people",
    "billing.approvable",
    "billing.bank_refunds",
    "billing.bank_transfers",
    "billing.fx_approvals",
    "signing.price_approvals",
    "billing.refund_approvals",
    "signing.recipient_approvals",
]

EMAIL_BACKEND = env.text("EMAIL_BACKEND", "django.core.mail.backends.smtp.EmailBackend")
EMAIL_HOST = env.text("EMAIL_HOST", "127.0.0.1")
EMAIL_PORT = env.integer("EMAIL_PORT", 25, minimum=1, maximum=65535)
EMAIL_HOST_USER = env.text("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = env.text("EMAIL_HOST_PASSWORD")
EMAIL_USE_TLS = env.flag("EMAIL_USE_TLS", default=False)
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "Clearinghouse <no-reply@localhost>")
# The page that shows the mails of a demo; nobody should be able to read other people's mail in production.
MAIL_PAGE = env.flag("MAIL_PAGE", default=False)

# -- Money in ----------------------------------------------------------------------------------------------

STRIPE_SECRET_KEY = env.text("STRIPE_SECRET_KEY")
STRIPE_WEBHOOK_SECRETS = env.names("STRIPE_WEBHOOK_SECRET")
STRIPE_API_BASE = env.url("STRIPE_API_BASE", "https://api.stripe.com")
TOP_UP_MINIMUM_CENTS = env.integer("TOP_UP_MINIMUM_CENTS", 1_000, minimum=50)
TOP_UP_MAXIMUM_CENTS = env.integer("TOP_UP_MAXIMUM_CENTS", 1_000_000, minimum=50, maximum=99_999_999)
BANK_ACCOUNT = env.pairs("BANK_ACCOUNT")
BANK_TRANSFER_MINIMUM_CENTS = env.integer("BANK_TRANSFER_MINIMUM_CENTS", 100_000, minimum=100)
BANK_TRANSFER_MAXIMUM_CENTS = env.integer(
    "BANK_TRANSFER_MAXIMUM_CENTS", 100_000_000, minimum=100, maximum=2_000_000_000
)
# What a customer may get back within a day before a second person has to look.
REFUND_APPROVAL_LIMIT_CENTS = env.integer("REFUND_APPROVAL_LIMIT_CENTS", 50_000)
# Whether a lost dispute takes the tax back on what was consumed as well; it depends on the rules for bad debts.
DISPUTE_TAX_RELIEF = env.flag("DISPUTE_TAX_RELIEF", default=True)
SIGN_UPS_PER_DAY = env.integer("SIGN_UPS_PER_DAY", 5, minimum=1)
BLOCKED_COUNTRIES = [country.upper() for country in env.names("BLOCKED_COUNTRIES")]
DISPOSABLE_MAIL = env.text("DISPOSABLE_MAIL")
TERMS_VERSION = env.text("TERMS_VERSION", "1")
TERMS_URL = env.url("TERMS_URL")
RISK_HOLD_SCORE = env.integer("RISK_HOLD_SCORE", 100, minimum=1)
TOP_UP_FIRST_MAXIMUM_CENTS = env.integer("TOP_UP_FIRST_MAXIMUM_CENTS", 100_000, minimum=50)
TOP_UP_DAY_MAXIMUM_CENTS = env.integer("TOP_UP_DAY_MAXIMUM_CENTS", 2_000_000, minimum=50)
TOP_UP_CURRENCIES = [name for name in env.names("TOP_UP_CURRENCIES", "eur,gbp") if name != "usd"]
TOP_UP_METHODS = env.names("TOP_UP_METHODS", "card")
FX_SOURCE = env.text("FX_SOURCE")
FX_MAX_AGE_HOURS = env.integer("FX_MAX_AGE_HOURS", 72, minimum=1)
CARD_MONEY_AGE_DAYS = env.integer("CARD_MONEY_AGE_DAYS", 14, maximum=365)
AUTO_RECHARGE_TRIES = env.integer("AUTO_RECHARGE_TRIES", 3, minimum=1, maximum=10)
AUTO_RECHARGE_PAUSE_SECONDS = env.integer("AUTO_RECHARGE_PAUSE_SECONDS", 3_600, minimum=1)
# Functions of rooms above the money that say whether a customer (by id) is not to be charged now.
AUTO_RECHARGE_GUARDS = ["signing.stops.stops_customer", "billing.disputes.stops_charging"]
MARKUP_BPS = env.integer("MARKUP_BPS", 1_500, maximum=100_000)

# -- Who sells ---------------------------------------------------------------------------------------------

SELLER_CODE = env.matching("SELLER_CODE", "CH", "[A-Z]{1,8}", "up to eight capital letters")
SELLER_NAME = env.text("SELLER_NAME", "Clearinghouse")
SELLER_ADDRESS = env.text("SELLER_ADDRESS")
SELLER_COUNTRY = env.matching("SELLER_COUNTRY", "US", "[A-Z]{2}", "a country's two capital letters")
SELLER_TAX_ID = env.text("SELLER_TAX_ID")
SELLER_EMAIL = env.text("SELLER_EMAIL")
VAT_CHECK_URL = env.url("VAT_CHECK_URL")

# -- The chain ---------------------------------------------------------------------------------------------

ETH_RPC_URLS = env.urls("ETH_RPC_URL")
CONTROLLER_ADDRESS = env.address("CONTROLLER_ADDRESS") or "0xD8E8328501E9645d16Cf49539efC04f734606ee4"
ETH_USD_FEED_ADDRESS = env.address("ETH_USD_FEED_ADDRESS") or "0x639Fe6ab55C921f74e7fac1ee960C0B6293ba612"
FINALITY_TAG = env.choice("FINALITY_TAG", "safe", ("safe", "finalized", "latest"))
CHAIN_MAX_AGE_SECONDS = env.integer("CHAIN_MAX_AGE_SECONDS", 60, minimum=2)
CHAIN_REFRESH_SECONDS = env.integer("CHAIN_REFRESH_SECONDS", 2, minimum=1)
ETH_USD_MAX_AGE_SECONDS = env.integer("ETH_USD_MAX_AGE_SECONDS", 7_200, minimum=10)
LOG_PAGE_BLOCKS = env.integer("LOG_PAGE_BLOCKS", 2_000, minimum=1)

SENDER_KEYSTORE_FILES = env.files("SENDER_KEYSTORE_FILE", "*.json")
SENDER_KEYSTORE_PASSWORD_FILES = env.files("SENDER_KEYSTORE_PASSWORD_FILE", "*.password")
SENDER_WEB3SIGNER_URL = env.url("SENDER_WEB3SIGNER_URL", "")
SENDER_ADDRESS = env.address("SENDER_ADDRESS")
TREASURY_KEYSTORE_FILE = env.file("TREASURY_KEYSTORE_FILE")
TREASURY_KEYSTORE_PASSWORD_FILE = env.file("TREASURY_KEYSTORE_PASSWORD_FILE")
TREASURY_ADDRESS = env.address("TREASURY_ADDRESS")

# -- The signer --------------------------------------------------------------------------------------------

SIGNER_HOST = env.text("SIGNER_HOST", "127.0.0.1")
SIGNER_PORT = env.integer("SIGNER_PORT", 8935, minimum=0, maximum=65535)
RECIPIENT_POLICY = env.choice("RECIPIENT_POLICY", "registered", ("registered", "listed", "any"))
MAX_TICKET_EV_WEI = env.ratio("MAX_TICKET_EV_WEI", "3000000000000")
MAX_TOTAL_EV_WEI = env.ratio("MAX_TOTAL_EV_WEI", "20000000000000")
DEPOSIT_MULTIPLIER = env.integer("DEPOSIT_MULTIPLIER", 20, minimum=1)
MAX_FACE_VALUE_WEI = env.integer("MAX_FACE_VALUE_WEI", 100_000_000_000_000_000, minimum=1)
MAX_PRICE_PER_UNIT = env.ratio("MAX_PRICE_PER_UNIT", "0")
KEY_REQUESTS_PER_SECOND = env.integer("KEY_REQUESTS_PER_SECOND", 500, maximum=1_000_000)
BAD_KEYS_PER_MINUTE = env.integer("BAD_KEYS_PER_MINUTE", 30, maximum=1_000_000)
# Of money that is not aged yet, in any 24 hours.
FRESH_MONEY_CAPS = {
    "customer_nano_usd": env.dollars("FRESH_CAP_CUSTOMER_USD", "1000"),
    "pair_nano_usd": env.dollars("FRESH_CAP_PAIR_USD", "250"),
    "recipient_nano_usd": env.dollars("FRESH_CAP_RECIPIENT_USD", "500"),
    "new_recipient_nano_usd": env.dollars("FRESH_CAP_NEW_RECIPIENT_USD", "50"),
    "listed_nano_usd": env.dollars("FRESH_CAP_LISTED_USD", "5000"),
    "flagged_nano_usd": env.dollars("FRESH_CAP_FLAGGED_USD", "1"),
    "season_days": env.integer("NEW_RECIPIENT_DAYS", 7, maximum=365),
}

# -- Discovery ---------------------------------------------------------------------------------------------

ORCHESTRATOR_LIST = env.origins("ORCHESTRATOR_LIST")
ORCHESTRATOR_WEBHOOK_URL = env.url("ORCHESTRATOR_WEBHOOK_URL")
ORCHESTRATOR_REGISTRY = env.flag("ORCHESTRATOR_REGISTRY", default=True)
DISCOVERY_SECONDS = env.integer("DISCOVERY_SECONDS", 120, minimum=1)
DISCOVERY_KEEP_SECONDS = env.integer("DISCOVERY_KEEP_SECONDS", 600, minimum=1)
DISCOVERY_PRIVATE_ADDRESSES = env.flag("DISCOVERY_PRIVATE_ADDRESSES", default=False)

# -- Later work --------------------------------------------------------------------------------------------

CELERY_BROKER_URL = env.text("CELERY_BROKER_URL", "redis://127.0.0.1:6379/0")

# -- API ---------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.authentication.ApiKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.authentication.HasCustomer"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": None,
    "EXCEPTION_HANDLER": "clearinghouse.errors.api_exception",
    "COERCE_DECIMAL_TO_STRING": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Clearinghouse API",
    "DESCRIPTION": "Balance, usage and statements of one customer. Amounts are strings of whole nano-dollars or wei.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {"django.server": {"level": "WARNING"}, "web3": {"level": "WARNING"}, "stripe": {"level": "WARNING"}},
}
