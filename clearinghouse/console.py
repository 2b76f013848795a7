"""How the staff console looks and what its sidebar leads to."""

from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


def _favicon(request: HttpRequest) -> str:
    return static("favicon.svg")


def _item(title: str, icon: str, name: str, *, right: str = "") -> dict[str, Any]:
    """`right` is needed for rooms that not all of the staff may enter."""

    def allowed(request: HttpRequest) -> bool:
        return not right or request.user.has_perm(right)

    return {"title": title, "icon": icon, "link": reverse_lazy(name), "permission": allowed}


NAVIGATION = [
    {
        "items": [
            _item("Home", "home", "admin:index"),
            _item("Treasury", "account_balance", "treasury", right="treasury.see"),
            _item("Finance", "menu_book", "finance", right="books.see"),
            _item("Kill switch", "block", "stops", right="stops.see"),
        ],
    },
    {
        "title": "Customers",
        "separator": True,
        "items": [
            _item("Customers", "group", "admin:accounts_customer_changelist", right="customers.see"),
            _item("API keys", "key", "admin:accounts_apikey_changelist", right="keys.see"),
            _item("Usage", "bar_chart", "admin:billing_usage_changelist", right="usage.see"),
            _item("Sessions", "sensors", "admin:signing_signersession_changelist", right="usage.see"),
            _item("Top-ups", "credit_card", "admin:billing_topup_changelist", right="top_ups.see"),
        ],
    },
    {
        "title": "Books",
        "separator": True,
        "items": [
            _item("Grants", "redeem", "admin:billing_grant_changelist", right="grants.see"),
            _item("Budgets", "speed", "admin:billing_budget_changelist", right="customers.see"),
            _item("Journals", "receipt_long", "admin:billing_journal_changelist", right="books.see"),
            _item("Ledger accounts", "account_tree", "admin:billing_ledgeraccount_changelist", right="books.see"),
            _item("Documents", "description", "admin:billing_document_changelist", right="documents.see"),
            _item("Tax of top-ups", "request_quote", "admin:billing_topuptax_changelist", right="documents.see"),
            _item("Tax told", "cloud_done", "admin:billing_taxrecord_changelist", right="documents.see"),
            _item("Tax registrations", "flag", "admin:billing_taxregistration_changelist", right="documents.see"),
            _item("When tax is due", "event", "admin:billing_taxmode_changelist", right="documents.see"),
            _item("Price ceilings", "price_check", "admin:signing_priceceiling_changelist", right="prices.see"),
            _item("Markups", "percent", "admin:billing_markup_changelist", right="prices.see"),
            _item("ETH prices", "currency_exchange", "admin:billing_ethusdrate_changelist", right="prices.see"),
            _item("Stripe events", "inbox", "admin:billing_stripeevent_changelist", right="provider.see"),
        ],
    },
    {
        "title": "Chain",
        "separator": True,
        "items": [
            _item("Redemptions", "confirmation_number", "admin:signing_redemption_changelist", right="chain.see"),
            _item("Events", "list_alt", "admin:signing_chainevent_changelist", right="chain.see"),
            _item("Funding requests", "send", "admin:signing_treasurytransaction_changelist", right="treasury.see"),
            _item("Recipients", "checklist", "recipients", right="recipients.see"),
        ],
    },
    {
        "title": "People",
        "separator": True,
        "items": [
            _item("Users", "person", "admin:accounts_user_changelist", right="people.see"),
            _item("Audit log", "history", "admin:accounts_auditentry_changelist", right="audit.see"),
        ],
    },
]

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Clearinghouse staff",
    "SITE_HEADER": "Clearinghouse",
    "SITE_SUBHEADER": "Staff console, times in UTC",
    "SITE_URL": "/",
    "SITE_SYMBOL": "account_balance",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": _favicon}],
    "SHOW_HISTORY": True,
    "COLORS": {
        "primary": {  # the pages' accent, lighter and darker
            "50": "#eef8f4",
            "100": "#d6efe5",
            "200": "#aedfcc",
            "300": "#7dcab0",
            "400": "#3cb98f",
            "500": "#1b8a69",
            "600": "#0b6650",
            "700": "#085140",
            "800": "#074236",
            "900": "#06352c",
            "950": "#021d18",
        },
    },
    "SIDEBAR": {"show_search": True, "show_all_applications": False, "navigation": NAVIGATION},
}
