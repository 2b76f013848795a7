"""The console's rooms about money: every row of the books to look at, none to change."""

from collections.abc import Callable, Sequence
from datetime import UTC
from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.admin import ModelAdmin, TabularInline
from unfold.paginator import InfinitePaginator

from accounts import moments
from accounts.admin import Guarded
from billing import display, ledger, work
from billing.models import Budget, EthUsdRate, Grant, Journal, LedgerAccount, StripeEvent, TopUp, Transfer, Usage
from billing.money import NANO_USD_PER_CENT
from billing.postings import CHART

type Column = Callable[[Any], str]


class ReadOnlyAdmin(Guarded, ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """To look at for whoever keeps the books or holds another `right`, to change for nobody.

    `fields` names what is shown, so that no secret slips in.
    """

    right = "books.see"
    actions: Sequence[str] | None = None
    list_per_page = 50
    show_full_result_count = False


class EndlessAdmin(ReadOnlyAdmin):
    """A room with more rows than anybody should count."""

    paginator = InfinitePaginator


def dollars(field: str, title: str) -> Column:
    """A column with a nano-dollar amount to the last digit that counts."""

    @admin.display(description=title, ordering=field)
    def column(row: Model) -> str:
        amount = getattr(row, field)
        return "–" if amount is None else display.nano_text(amount, trim=True)

    return column


def ether(field: str, title: str) -> Column:
    """A column with a wei amount in ETH or gwei."""

    @admin.display(description=title, ordering=field)
    def column(row: Model) -> str:
        amount = getattr(row, field)
        return "–" if amount is None else display.eth_text(amount, places=6)

    return column


def shortened(field: str, title: str) -> Column:
    """A column with an address or a hash by its two ends."""

    @admin.display(description=title, ordering=field)
    def column(row: Model) -> str:
        value = getattr(row, field)
        return "…".join(display.short_address(value)) if value else "–"

    return column


def when(field: str, title: str) -> Column:
    """A column with a moment in UTC, to the second."""

    @admin.display(description=title, ordering=field)
    def column(row: Model) -> str:
        at = getattr(row, field)
        if at is None:
            return "–"
        return format_html('<span class="whitespace-nowrap">{}</span>', moments.second(at.astimezone(UTC)))

    return column


@admin.display(description="Kind", ordering="kind")
def kind_of_work(row: Any) -> str:
    """A column with the kind of work in words."""
    return work.kind_word(row.kind)


class KindOfWork(admin.SimpleListFilter):
    """By the kind of work, in words."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(work.KINDS.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset if self.value() is None else queryset.filter(kind=self.value())


@admin.register(Usage)
class UsageAdmin(EndlessAdmin):
    right = "usage.see"
    list_display = (
        when("at", "Time, UTC"),
        "customer",
        "label",
        kind_of_work,
        shortened("counterparty", "Orchestrator"),
        "quantity",
        ether("cost_wei", "Expected value"),
        dollars("charge_nano_usd", "Charge"),
        "posted",
    )
    list_filter = (KindOfWork, "at", ("journal", admin.EmptyFieldListFilter))
    list_select_related = ("customer",)
    search_fields = ("customer__name", "label", "counterparty")
    ordering = ("-id",)
    fields = (
        *("id", "customer", "api_key", "at", "source", "label", kind_of_work, "counterparty", "quantity", "unit"),
        *("billed_units", "fee_wei", "cost_wei", "cost_nano_usd", "markup_bps", "charge_nano_usd", "rate", "journal"),
    )
    readonly_fields = (kind_of_work,)

    @admin.display(description="Posted", boolean=True)
    def posted(self, usage: Usage) -> bool:
        return usage.journal_id is not None


@admin.register(TopUp)
class TopUpAdmin(ReadOnlyAdmin):
    right = "top_ups.see"
    list_display = (
        when("created_at", "Time, UTC"),
        "customer",
        "amount",
        "status",
        "card",
        when("settled_at", "Settled"),
        "payment_intent_id",
    )
    list_filter = ("status", "created_at")
    list_select_related = ("customer",)
    search_fields = ("customer__name", "payment_intent_id", "checkout_session_id")
    ordering = ("-created_at",)
    fields = (
        *("id", "customer", "created_by", "method", "amount_cents", "currency", "status", "failure"),
        *("net_cents", "tax_cents", "total_cents", "tax_parts", "fx_rate", "credit_nano_usd"),
        *("card", "card_country", "checkout_session_id", "payment_intent_id", "charge_id"),
        *("balance_transaction_id", "fee_cents"),
        *("created_at", "checked_at", "settled_at"),
    )

    @admin.display(description="Amount", ordering="amount_cents")
    def amount(self, top_up: TopUp) -> str:
        return display.usd_text(top_up.amount_cents * NANO_USD_PER_CENT)


@admin.register(StripeEvent)
class StripeEventAdmin(EndlessAdmin):
    """Without the payload: it holds names and addresses that nobody needs here."""

    right = "provider.see"
    list_display = (
        when("received_at", "Received"),
        "type",
        "object_id",
        "outcome",
        "attempts",
        when("handled_at", "Handled"),
        "error",
    )
    list_filter = ("type", "outcome", "source", ("handled_at", admin.EmptyFieldListFilter))
    search_fields = ("event_id", "object_id")
    ordering = ("-id",)
    fields = (
        *("event_id", "type", "kind", "object_id", "source", "received_at", "handled_at", "outcome", "attempts"),
        *("not_before", "error"),
    )


@admin.register(Grant)
class GrantAdmin(EndlessAdmin):
    """What stands behind wallets: each credit with what is left of it."""

    right = "grants.see"
    list_display = (
        when("created_at", "Since"),
        "customer",
        "kind",
        dollars("amount_nano_usd", "Amount"),
        dollars("remaining_nano_usd", "Left"),
        "campaign",
        "is_fresh",
        when("aged_at", "Aged"),
        when("expires_at", "Ends"),
        "reference",
    )
    list_filter = ("kind", "is_fresh", ("expires_at", admin.EmptyFieldListFilter))
    search_fields = ("reference", "campaign", "customer__name")
    list_select_related = ("customer",)
    ordering = ("-id",)
    fields = (
        *("customer", "kind", "amount_nano_usd", "remaining_nano_usd", "priority", "campaign", "reference"),
        *("is_fresh", "aged_at", "expires_at", "created_at"),
    )


@admin.register(Budget)
class BudgetAdmin(EndlessAdmin):
    """Limits that customers set for themselves, those that hold and those of the past."""

    right = "customers.see"
    list_display = (
        when("set_at", "Since"),
        "customer",
        "api_key",
        "period",
        dollars("limit_nano_usd", "At most"),
        dollars("spent_nano_usd", "Spent"),
        "period_start",
        when("lifted_at", "Lifted"),
    )
    list_filter = ("period", ("lifted_at", admin.EmptyFieldListFilter))
    search_fields = ("customer__name", "api_key__name")
    list_select_related = ("customer", "api_key")
    ordering = ("-id",)
    fields = (
        *("customer", "api_key", "period", "limit_nano_usd", "period_start", "spent_nano_usd"),
        *("set_by", "set_at", "lifted_by", "lifted_at"),
    )


@admin.register(EthUsdRate)
class EthUsdRateAdmin(EndlessAdmin):
    right = "prices.see"
    list_display = (
        when("updated_at", "Time, UTC"),
        dollars("nano_usd_per_eth", "USD per ETH"),
        shortened("feed_address", "Feed"),
        "feed_round",
        when("recorded_at", "Recorded"),
    )
    ordering = ("-id",)
    fields = ("feed_address", "feed_round", "nano_usd_per_eth", "updated_at", "recorded_at")


@admin.register(LedgerAccount)
class LedgerAccountAdmin(ReadOnlyAdmin):
    list_display = ("number", "name", "asset", "party", "balance")
    list_display_links = ("number", "name")
    list_filter = ("number", "asset")
    search_fields = ("number", "party")
    ordering = ("number", "asset", "party")
    fields = ("number", "name", "asset", "party", "balance")
    readonly_fields = ("name", "balance")

    @admin.display(description="Name")
    def name(self, account: LedgerAccount) -> str:
        return CHART[account.number][0]

    @admin.display(description="Debits less credits")
    def balance(self, account: LedgerAccount) -> str:
        amount = ledger.balance(account.number, "USD" if account.asset == "USD" else "ETH", account.party)
        return _amount(account.asset, amount)


class TransferInline(Guarded, TabularInline):  # type: ignore[misc]  # unfold has no types
    right = "books.see"
    model = Transfer
    verbose_name_plural = "transfers"
    fields = ("debit", "credit", "amount")
    readonly_fields = ("amount",)
    extra = 0
    can_delete = False
    per_page = 50
    show_title = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Transfer]:
        found: QuerySet[Transfer] = super().get_queryset(request)
        return found.select_related("debit", "credit").order_by("id")

    @admin.display(description="Amount")
    def amount(self, transfer: Transfer) -> str:
        if transfer.amount_nano_usd is not None:
            return _amount("USD", transfer.amount_nano_usd)
        return _amount("ETH", transfer.amount_wei or 0)


@admin.register(Journal)
class JournalAdmin(EndlessAdmin):
    list_display = ("id", when("occurred_at", "Time, UTC"), "kind", "reference", "customer", "description")
    list_filter = ("kind", "occurred_at")
    list_select_related = ("customer",)
    search_fields = ("reference", "customer__name")
    ordering = ("-id",)
    fields = ("kind", "reference", "description", "customer", "reverses", "occurred_at", "booked_at")
    inlines = (TransferInline,)


def _amount(asset: str, amount: int) -> str:
    if asset == "USD":
        return display.nano_text(amount)
    return f"{display.eth_exact(amount)} ETH"
