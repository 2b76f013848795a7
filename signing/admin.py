"""The console's rooms about customers and the chain; all to look at."""

from datetime import timedelta
from typing import Any, ClassVar

from allauth.account.models import EmailAddress, EmailConfirmation
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.db.models import F, QuerySet
from django.db.models.expressions import RawSQL
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts import admin as people
from accounts.models import Customer
from billing import usage
from billing.admin import EndlessAdmin, KindOfWork, ReadOnlyAdmin, dollars, ether, kind_of_work, shortened, when
from billing.models import TopUp
from signing import price_admin as price_admin
from signing.models import ChainEvent, Redemption, SignerSession, TreasuryTransaction
from signing.newest_sessions import newest_sessions

_SHOWN = 10


# These rooms come with a package and would show second factors and confirmation keys.
for model in (Authenticator, EmailAddress, EmailConfirmation):
    if admin.site.is_registered(model):
        admin.site.unregister(model)
admin.site.unregister(Customer)
admin.site.index_title = "Staff console"


@admin.register(Customer)
class CustomerAdmin(people.CustomerAdmin):
    """The room of the accounts, with what a customer holds, spends and did."""

    list_display: ClassVar[list[str]] = ["name", "status", "holds", "spends", "created_at"]
    ordering: ClassVar[list[str]] = ["name"]
    fields: ClassVar[list[str]] = ["name", "status", "created_at", "holds", "spends"]
    readonly_fields: ClassVar[list[str]] = ["created_at", "holds", "spends"]
    change_form_after_template = "staff/console/customer.html"

    @admin.display(description="Balance", ordering="balance")
    def holds(self, customer: Customer) -> str:
        return dollars("balance", "")(customer)

    @admin.display(description="Spent in 30 days", ordering="spent")
    def spends(self, customer: Customer) -> str:
        return dollars("spent", "")(customer)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Customer]:
        since = (timezone.now() - timedelta(days=30)).date()
        spent = RawSQL(  # a constant with its one parameter
            "(SELECT coalesce(sum(charge_nano_usd), 0)::bigint FROM billing_usage_by_day"
            " WHERE customer_id = accounts_customer.id AND day > %s)",
            [since],
        )
        found: QuerySet[Customer] = super().get_queryset(request)
        return found.annotate(balance=F("wallet__available_nano_usd"), spent=spent)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        given = _of_customer(int(object_id)) if object_id.isdecimal() else {}
        response: HttpResponse = super().change_view(request, object_id, form_url, {**(extra_context or {}), **given})
        return response


@admin.register(SignerSession)
class SignerSessionAdmin(EndlessAdmin):
    right = "usage.see"
    list_display = (
        when("opened_at", "Opened"),
        "customer",
        "app",
        kind_of_work,
        shortened("orchestrator", "Orchestrator"),
        "sequence",
        when("last_update", "Last payment"),
    )
    list_filter = (KindOfWork, "opened_at")
    list_select_related = ("customer",)
    search_fields = ("=id", "customer__name", "app", "orchestrator", "=gateway_request_id")
    ordering = ("-opened_at",)
    fields = (
        *(
            "id",
            "customer",
            "api_key",
            "app",
            kind_of_work,
            "manifest_id",
            "orchestrator",
            "orchestrator_url",
            "recipient",
        ),
        *("sender", "sequence", "sender_nonce", "balance_wei", "initial_price_per_unit", "initial_pixels_per_unit"),
        *("opened_at", "client_ip", "user_agent", "last_update", "last_client_ip", "last_user_agent"),
        *("gateway_request_id", "attribution_source"),
    )
    readonly_fields = (kind_of_work,)


class Matched(admin.SimpleListFilter):
    """Whether a redeemed ticket was issued here, and whether it was paid in full."""

    title = "ticket"
    parameter_name = "ticket"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("matched", "Matched to a payment"), ("unmatched", "Unmatched"), ("short", "Paid short")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Redemption]) -> QuerySet[Redemption]:
        if self.value() == "matched":
            return queryset.exclude(payment=None)
        if self.value() == "unmatched":
            return queryset.filter(payment=None)
        if self.value() == "short":
            return queryset.filter(paid_wei__lt=F("face_value_wei"))
        return queryset


@admin.register(Redemption)
class RedemptionAdmin(EndlessAdmin):
    right = "chain.see"
    list_display = (
        when("seen_at", "Seen"),
        shortened("recipient", "Orchestrator"),
        "customer",
        "matched",
        ether("face_value_wei", "Face value"),
        ether("paid_wei", "Paid"),
        ether("from_reserve_wei", "From the reserve"),
        "booked",
    )
    list_filter = (Matched, "seen_at")
    list_select_related = ("customer", "event")
    search_fields = ("ticket_hash", "recipient", "customer__name", "event__tx_hash")
    ordering = ("-id",)
    fields = (
        *("ticket_hash", "recipient", "sender", "sender_nonce", "face_value_wei", "paid_wei", "from_reserve_wei"),
        *("customer", "payment_id", "event", "seen_at"),
    )

    @admin.display(description="Matched", boolean=True)
    def matched(self, redemption: Redemption) -> bool:
        return redemption.payment_id is not None

    @admin.display(description="Booked", boolean=True)
    def booked(self, redemption: Redemption) -> bool:
        return redemption.event.booked_at is not None


@admin.register(ChainEvent)
class ChainEventAdmin(EndlessAdmin):
    right = "chain.see"
    list_display = (
        when("block_time", "Time, UTC"),
        "name",
        "block_number",
        shortened("tx_hash", "Transaction"),
        "log_index",
        when("booked_at", "Booked"),
    )
    list_filter = ("name", ("booked_at", admin.EmptyFieldListFilter))
    search_fields = ("tx_hash",)
    ordering = ("-block_number", "-log_index")
    fields = (
        *("chain_id", "name", "sender", "arguments", "block_number", "block_hash", "block_time"),
        *("tx_hash", "log_index", "seen_at", "booked_at", "journal"),
    )


@admin.register(TreasuryTransaction)
class TreasuryTransactionAdmin(ReadOnlyAdmin):
    right = "treasury.see"
    list_display = (
        when("requested_at", "Requested"),
        "requested_by",
        ether("deposit_wei", "To the deposit"),
        ether("reserve_wei", "To the reserve"),
        "status",
        shortened("tx_hash", "Transaction"),
        ether("gas_cost_wei", "Gas"),
        "error",
    )
    list_filter = ("status",)
    list_select_related = ("requested_by",)
    search_fields = ("tx_hash",)
    ordering = ("-requested_at",)
    fields = (
        *("id", "kind", "sender", "deposit_wei", "reserve_wei", "requested_by", "requested_at", "status", "error"),
        *("from_address", "nonce", "tx_hash", "block_number", "gas_cost_wei", "gas_journal", "updated_at"),
    )


def _of_customer(customer_id: int) -> dict[str, Any]:
    """The last rows of everything that belongs to a customer."""
    return {
        "charges": list(usage.charges(customer_id)[:_SHOWN]),
        "sessions": newest_sessions(customer_id, limit=_SHOWN, now=timezone.now()),
        "redemptions": list(
            Redemption.objects.filter(customer_id=customer_id).select_related("event").order_by("-seen_at")[:_SHOWN]
        ),
        "top_ups": list(TopUp.objects.filter(customer_id=customer_id).order_by("-created_at")[:_SHOWN]),
    }
