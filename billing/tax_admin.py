"""The console's rooms about documents and tax: documents and taxes to look at, registrations and modes to add."""

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from accounts import audit
from billing import admin as rooms
from billing import countries, display, tax_records
from billing.documents import document_pdf, sellers
from billing.models import Document, TaxMode, TaxRecord, TaxRegistration, TopUpTax

if TYPE_CHECKING:
    _RegistrationForm = forms.ModelForm[TaxRegistration]
    _ModeForm = forms.ModelForm[TaxMode]
else:
    _RegistrationForm = _ModeForm = forms.ModelForm  # the type checker subscripts the class, Python cannot


@admin.register(Document)
class DocumentAdmin(rooms.EndlessAdmin):
    right = "documents.see"
    list_display = ("number", "kind", "customer", rooms.when("issued_at", "Issued, UTC"), "total", "tax", "file_link")
    list_filter = ("kind", "year")
    list_select_related = ("customer",)
    search_fields = ("number", "customer__name")
    ordering = ("-id",)
    fields = (
        *("number", "kind", "customer", "top_up", "corrects", "journal", "issued_at", "currency"),
        *("net_cents", "tax_cents", "total_cents", "total_nano_usd", "tax_nano_usd", "snapshot", "snapshot_sha256"),
    )

    @admin.display(description="Total")
    def total(self, document: Document) -> str:
        return _money(document, "total")

    @admin.display(description="Tax")
    def tax(self, document: Document) -> str:
        return _money(document, "tax")

    @admin.display(description="File")
    def file_link(self, document: Document) -> str:
        return format_html('<a href="{}">PDF</a>', reverse("staff_document_pdf", args=[document.number]))


@admin.register(TopUpTax)
class TopUpTaxAdmin(rooms.EndlessAdmin):
    right = "documents.see"
    list_display = ("top_up", "country", "region", "treatment", "mode", "tax_id_state", "agrees")
    list_filter = ("agrees", "treatment", "mode")
    list_select_related = ("top_up",)
    ordering = ("-made_at",)
    fields = (
        *("top_up", "entity", "mode", "treatment", "country", "region", "tax_id", "tax_id_state"),
        *("ip", "breakdown", "calculation_id", "agrees", "made_at"),
    )


@admin.register(TaxRecord)
class TaxRecordAdmin(rooms.EndlessAdmin):
    """What was refused waits here for finance, who puts right what hinders it and lets the clock ask again."""

    right = "documents.see"
    list_display = (
        *("reference", "kind", "state", "net", "tax", "provider_says", "failure"),
        rooms.when("recorded_at", "Recorded, UTC"),
    )
    list_filter = ("state", "kind")
    list_select_related = ("document",)
    search_fields = ("reference", "provider_id")
    ordering = ("-id",)
    actions = ("ask_again",)
    fields = (
        *("reference", "document", "top_up", "kind", "original", "currency", "net_cents", "tax_cents", "state"),
        *("failure", "calculation_id", "provider_id", "told_tax_cents", "tries", "not_before", "created_at"),
        "recorded_at",
    )

    @admin.display(description="Net")
    def net(self, record: TaxRecord) -> str:
        return display.cents_text(record.net_cents, record.currency)

    @admin.display(description="Tax")
    def tax(self, record: TaxRecord) -> str:
        return display.cents_text(record.tax_cents, record.currency)

    @admin.display(description="Provider has")
    def provider_says(self, record: TaxRecord) -> str:
        if record.told_tax_cents is None:
            return "–"
        return display.cents_text(abs(record.told_tax_cents), record.currency)

    def has_ask_again_permission(self, request: HttpRequest) -> bool:
        return admin.site.has_permission(request) and request.user.has_perm("tax.change")

    @admin.action(description="Tell the provider again", permissions=["ask_again"])
    def ask_again(self, request: HttpRequest, chosen: "QuerySet[TaxRecord]") -> None:
        assert request.user.is_authenticated, "the console lets nobody else in"
        asked = 0
        for record in chosen:
            if tax_records.ask_again(record):
                asked += 1
                audit.write("tax_record.asked_again", subject=f"taxrecord:{record.pk}", actor=request.user)
        self.message_user(request, f"{asked} told again within a minute." if asked else "None of these was refused.")


class TaxRegistrationForm(_RegistrationForm):
    class Meta:
        model = TaxRegistration
        fields = ("jurisdiction", "number", "collects")

    def clean_jurisdiction(self) -> str:
        """DE, US-CA, or EU for the one-stop shop."""
        given = str(self.cleaned_data["jurisdiction"]).strip().upper()
        country, _, state = given.partition("-")
        known = state in countries.US_STATES if country == "US" else not state and given in {*countries.NAMES, "EU"}
        if not known:
            raise forms.ValidationError("Write a country (DE), a state of the US (US-CA), or EU for the one-stop shop.")
        return given


class TaxModeForm(_ModeForm):
    class Meta:
        model = TaxMode
        fields = ("country", "mode")
        help_texts: ClassVar[dict[str, str]] = {"country": "Two letters; empty: every country without its own line."}

    def clean_country(self) -> str:
        given = str(self.cleaned_data["country"]).strip().upper()
        if given and given not in countries.NAMES:
            raise forms.ValidationError("Write the country's two letters, or nothing for all.")
        return given


class AddedByFinance(rooms.ReadOnlyAdmin):
    """A room whose rows follow one another; the newest counts from the moment it is added."""

    right = "documents.see"
    list_select_related = ("entity", "made_by")
    ordering = ("-valid_from", "-id")
    readonly_fields = ("entity", "valid_from", "made_by", "made_at")
    named: ClassVar[tuple[str, ...]]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.site.has_permission(request) and request.user.has_perm("tax.change")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (*self.named, "entity", "valid_from", "made_by", "made_at") if obj else self.named

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        assert request.user.is_authenticated, "the console lets nobody else in"
        obj.entity, obj.made_by = sellers.current(), request.user
        obj.save(force_insert=True)
        audit.write(
            f"{obj._meta.model_name}.added",
            subject=f"{obj._meta.model_name}:{obj.pk}",
            actor=request.user,
            after={name: getattr(obj, name) for name in self.named},
        )


@admin.register(TaxRegistration)
class TaxRegistrationAdmin(AddedByFinance):
    form = TaxRegistrationForm
    named = ("jurisdiction", "number", "collects")
    list_display = (
        "jurisdiction",
        "number",
        "collects",
        "entity",
        rooms.when("valid_from", "In force from, UTC"),
        "made_by",
    )


@admin.register(TaxMode)
class TaxModeAdmin(AddedByFinance):
    form = TaxModeForm
    named = ("country", "mode")
    list_display = ("where", "mode", "entity", rooms.when("valid_from", "In force from, UTC"), "made_by")

    @admin.display(description="Country")
    def where(self, row: TaxMode) -> str:
        return row.country or "All without their own"


def _money(document: Document, part: str) -> str:
    return document_pdf.money(document.snapshot["totals"][part], document.snapshot["currency"])
