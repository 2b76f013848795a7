"""The console's rooms of price ceilings and markups: rows are added and never changed."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextInputWidget,
)

from billing.admin import ReadOnlyAdmin, when
from billing.models import Markup
from signing import prices
from signing.models import PriceCeiling
from signing.price_forms import LimitForm, not_before_now

if TYPE_CHECKING:
    _CeilingForm = forms.ModelForm[PriceCeiling]
    _MarkupForm = forms.ModelForm[Markup]
else:
    _CeilingForm = _MarkupForm = forms.ModelForm  # the type checker subscripts the class, Python cannot

_SUBJECT = {"capability": "capability", "customer": "customer", "api_key": "api_key"}


class LaterField(forms.SplitDateTimeField):
    """A moment to come, in UTC; empty is now."""

    def __init__(self) -> None:
        super().__init__(
            label="In force from",
            required=False,
            widget=UnfoldAdminSplitDateTimeWidget(),
            help_text="UTC. Empty: from now on.",
        )

    def clean(self, value: Any) -> datetime | None:
        return not_before_now(super().clean(value))


class CeilingForm(LimitForm, _CeilingForm):
    """A ceiling in the words people use."""

    valid_from = LaterField()

    class Meta:
        model = PriceCeiling
        fields = ("scope", "capability", "model", "customer", "api_key", "valid_from")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["amount"].widget = UnfoldAdminTextInputWidget()
        self.fields["amount"].help_text = "Of the orchestrator's price, before markup. Empty: no ceiling from then on."
        for name in ("currency", "per"):
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)
            field.widget = UnfoldAdminSelectWidget(choices=field.choices)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        needed = _SUBJECT.get(cleaned.get("scope", ""))
        for name in ("capability", "model", "customer", "api_key"):
            given = cleaned.get(name) not in (None, "")
            if name == needed and not given and name not in self.errors:
                self.add_error(name, "Must be given for this scope.")
            elif given and name != needed and not (name == "model" and needed == "capability"):
                self.add_error(name, "Must be empty for this scope.")
        return cleaned


class MarkupForm(_MarkupForm):
    """A markup in percent."""

    percent = forms.DecimalField(
        required=False,
        min_value=0,
        max_value=1_000,
        decimal_places=2,
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text="Added to the network cost. Empty: back to the default, and for the default to the setting.",
    )

    valid_from = LaterField()

    class Meta:
        model = Markup
        fields = ("customer", "reason", "valid_from")
        help_texts: ClassVar[dict[str, str]] = {"customer": "Empty: all customers without their own."}


class AddOnlyAdmin(ReadOnlyAdmin):
    """A room whose rows follow one another; each new one is asked for."""

    right = "prices.see"
    adding: ClassVar[tuple[str, ...]]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.site.has_permission(request) and any(map(request.user.has_perm, self.adding))


@admin.register(PriceCeiling)
class PriceCeilingAdmin(AddOnlyAdmin):
    adding = ("ceilings.ask", "ceilings.lower")
    form = CeilingForm
    list_display = ("subject", "limit", when("valid_from", "In force from, UTC"), "made_by")
    list_filter = ("scope", "unit")
    list_select_related = ("customer", "api_key", "made_by")
    search_fields = ("customer__name", "api_key__prefix", "model")
    ordering = ("-valid_from", "-id")
    autocomplete_fields = ("customer",)
    raw_id_fields = ("api_key",)
    fields = ("subject", "limit", "scope", "limit_wei", "limit_nano_usd", "per_units", "unit")
    readonly_fields = ("subject", "limit", "made_by", "made_at")

    @admin.display(description="What")
    def subject(self, row: PriceCeiling) -> str:
        return prices.subject_text(row)

    @admin.display(description="At most")
    def limit(self, row: PriceCeiling) -> str:
        return prices.limit_text(row)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        if obj:
            return (*self.fields, "valid_from", "made_by", "made_at")
        return ("scope", "capability", "model", "customer", "api_key", "amount", "currency", "per", "valid_from")

    def save_model(self, request: HttpRequest, obj: PriceCeiling, form: CeilingForm, change: bool) -> None:
        assert request.user.is_authenticated, "the console lets nobody else in"
        given = {name: form.cleaned_data[name] for name in CeilingForm.Meta.fields}
        row = prices.add_ceiling(user=request.user, **given, **form.cleaned_data["limit"])
        obj.pk = row.pk


@admin.register(Markup)
class MarkupAdmin(AddOnlyAdmin):
    adding = ("markups.ask",)
    form = MarkupForm
    list_display = ("whose", "markup", "reason", when("valid_from", "In force from, UTC"), "made_by")
    list_select_related = ("customer", "made_by")
    search_fields = ("customer__name", "reason")
    ordering = ("-valid_from", "-id")
    autocomplete_fields = ("customer",)
    readonly_fields = ("whose", "markup", "made_by", "made_at")

    @admin.display(description="For")
    def whose(self, row: Markup) -> str:
        return f"{row.customer.name} (account {row.customer_id})" if row.customer else "All without their own"

    @admin.display(description="Markup")
    def markup(self, row: Markup) -> str:
        return prices.markup_text(row)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        if obj:
            return ("whose", "markup", "reason", "valid_from", "made_by", "made_at")
        return ("customer", "percent", "reason", "valid_from")

    def save_model(self, request: HttpRequest, obj: Markup, form: MarkupForm, change: bool) -> None:
        assert request.user.is_authenticated, "the console lets nobody else in"
        cleaned = form.cleaned_data
        row = prices.add_markup(
            user=request.user,
            customer=cleaned["customer"],
            bps=None if cleaned["percent"] is None else int(cleaned["percent"] * 100),
            reason=cleaned["reason"],
            valid_from=cleaned["valid_from"],
        )
        obj.pk = row.pk
