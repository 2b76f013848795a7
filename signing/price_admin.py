"""The console's rooms of price ceilings and markups: rows are asked for, added and never changed."""

import uuid
from abc import ABCMeta, abstractmethod
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models.functions import Now
from django.forms.widgets import MediaDefiningClass
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextInputWidget,
)

from accounts import approvals
from accounts.models import ApiKey, Approval, Customer
from billing.admin import ReadOnlyAdmin, when
from billing.models import Markup
from signing import price_approvals, prices
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


class OnceField(forms.CharField):
    """The form's own number: sent twice, it asks once."""

    def __init__(self) -> None:
        super().__init__(required=False, max_length=60, widget=forms.HiddenInput, initial=uuid.uuid4)


class CeilingForm(LimitForm, _CeilingForm):
    """A ceiling in the words people use."""

    valid_from = LaterField()
    reason = forms.CharField(
        max_length=200, widget=UnfoldAdminTextInputWidget(), help_text="Read by the second person who decides."
    )
    once = OnceField()

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
    once = OnceField()

    class Meta:
        model = Markup
        fields = ("customer", "reason", "valid_from")
        help_texts: ClassVar[dict[str, str]] = {"customer": "Empty: all customers without their own."}


class _AbstractRoom(ABCMeta, MediaDefiningClass):
    """Rooms of the console have a metaclass of their own already."""


class AddOnlyAdmin(ReadOnlyAdmin, metaclass=_AbstractRoom):
    """A room whose rows follow one another; each new one is asked for."""

    right = "prices.see"
    adding: ClassVar[tuple[str, ...]]
    kind: ClassVar[str]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.site.has_permission(request) and any(map(request.user.has_perm, self.adding))

    @abstractmethod
    def wish(self, request: HttpRequest, form: Any) -> Approval | None:
        """Asks for the row; None when it needed no second person and is there."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Writes no row itself: the answer leads to the request, which waits for a second person."""
        try:
            obj.asked = self.wish(request, form)
        except approvals.NotPossible as error:
            obj.asked = None
            self.message_user(request, str(error), messages.ERROR)
        else:
            words = "Asked. It waits for a second person" if obj.asked else "It holds from now on"
            self.message_user(request, words, messages.SUCCESS)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """There is no row yet that anything could be related to."""

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """The audit log has it."""

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        asked = getattr(obj, "asked", None)
        return (
            redirect("approval", asked.pk)
            if asked
            else redirect(f"admin:{self.opts.label_lower.replace('.', '_')}_changelist")
        )

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With one button: what is asked for is looked at on its own page."""
        one = {"show_save_and_add_another": False, "show_save_and_continue": False}
        response: HttpResponse = super().add_view(request, form_url, {**(extra_context or {}), **one})
        return response

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Says how many changes wait."""
        waiting = Approval.objects.filter(kind=self.kind, status=Approval.Status.ASKED, expires_at__gt=Now()).count()
        if waiting and request.method == "GET":
            words = format_html(
                '{} waiting for a second person. <a href="{}?show=mine">Look</a>',
                "One change is" if waiting == 1 else f"{waiting} changes are",
                reverse("approvals"),
            )
            self.message_user(request, words, messages.WARNING)
        response: HttpResponse = super().changelist_view(request, extra_context)
        return response


@admin.register(PriceCeiling)
class PriceCeilingAdmin(AddOnlyAdmin):
    adding = ("ceilings.ask", "ceilings.lower")
    kind = price_approvals.CEILING
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
        return (
            *("scope", "capability", "model", "customer", "api_key", "amount", "currency", "per", "valid_from"),
            *("reason", "once"),
        )

    def wish(self, request: HttpRequest, form: CeilingForm) -> Approval | None:
        """A lower ceiling holds at once; anything else waits for a second person."""
        given = form.cleaned_data
        payload = price_approvals.ceiling_payload({**given, **given["limit"]}, valid_from=given["valid_from"])
        if price_approvals.is_lower(payload) and request.user.has_perm("ceilings.lower"):
            assert request.user.is_authenticated, "the console lets nobody else in"
            prices.add_ceiling(user=request.user, **price_approvals.columns(payload))
            return None
        return _ask(request, price_approvals.CEILING, payload, form, customer=_payer(given))


@admin.register(Markup)
class MarkupAdmin(AddOnlyAdmin):
    adding = ("markups.ask",)
    kind = price_approvals.MARKUP
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
        return ("customer", "percent", "reason", "valid_from", "once")

    def wish(self, request: HttpRequest, form: MarkupForm) -> Approval:
        given = form.cleaned_data
        payload = price_approvals.markup_payload(
            customer=given["customer"],
            bps=None if given["percent"] is None else int(given["percent"] * 100),
            valid_from=given["valid_from"],
        )
        return _ask(request, price_approvals.MARKUP, payload, form, customer=given["customer"])


def _payer(given: dict[str, Any]) -> Customer | None:
    key: ApiKey | None = given["api_key"]
    customer: Customer | None = given["customer"]
    return key.customer if key else customer


def _ask(request: HttpRequest, kind: str, payload: dict[str, Any], form: Any, *, customer: Customer | None) -> Approval:
    """Raises PermissionDenied and approvals.NotPossible."""
    assert request.user.is_authenticated, "the console lets nobody else in"
    given = form.cleaned_data
    try:
        return approvals.ask(
            kind=kind,
            payload=payload,
            reason=given["reason"],
            user=request.user,
            customer=customer,
            once=given["once"],
        )
    except approvals.NotAllowed:
        raise PermissionDenied(approvals.kinds()[kind].ask_permission) from None
