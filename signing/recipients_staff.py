"""The recipients' page: who is listed, flagged, frozen or sanctioned, by whom and why; ruling and lifting."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts import approvals, second_person
from accounts.access import StaffRequest, need, staff_required
from signing import recipient_approvals, recipients
from signing.models import RecipientRule
from signing.recipients_forms import ReasonForm, RuleForm

_LIFTED = 20
_SHOWN = 200
Standing = RecipientRule.Standing
EFFECTS = {
    Standing.LISTED: "It may be paid with promotional credit, under the policy that pays listed recipients only, and"
    " with much more money that is not aged yet. A second person has to approve.",
    Standing.FLAGGED: "Within two seconds it gets hardly any money that is not aged yet, and no promotional credit."
    " Aged money and bank transfers still pay it.",
    Standing.FROZEN: "Within two seconds no ticket is signed for it, and it is not listed to gateways. Running sessions"
    " with it end. Tickets it holds already can still be redeemed.",
    Standing.SANCTIONED: "Within two seconds no ticket is signed for it, and it is not listed to gateways. Running"
    " sessions with it end. Customers are told that the law forbids paying it.",
}


@never_cache
@require_http_methods(["GET", "POST"])
@staff_required("recipients.see")
def recipients_page(request: StaffRequest) -> HttpResponse:
    """The page; a rule sent to it is only looked at: what it would do is shown, to be confirmed."""
    if request.method == "POST":
        form = RuleForm(request.POST)
        return _page(request, form=form, asking=form.is_valid(), status=200 if form.is_valid() else 422)
    number = request.GET.get("lift", "")
    lifting = recipients.standing().filter(pk=int(number)).first() if number.isdecimal() and len(number) < 18 else None
    return _page(request, form=RuleForm(initial={"address": request.GET.get("address", "")}), lifting=lifting)


@require_POST
@staff_required("recipients.see")
def rule_recipient(request: StaffRequest) -> HttpResponse:
    """Restrains at once; asks a second person to list."""
    form = RuleForm(request.POST)
    if not form.is_valid():
        return _page(request, form=form, status=422)
    given = form.cleaned_data
    if given["standing"] == Standing.LISTED:
        payload = {"act": recipient_approvals.LIST, "address": given["address"], "label": given["label"]}
        return _ask(request, payload, given["reason"])
    need(request.user, "recipients.restrict")
    try:
        recipients.rule(
            address=given["address"],
            standing=given["standing"],
            reason=given["reason"],
            label=given["label"],
            user=request.user,
        )
    except recipients.AlreadyRuled:
        messages.info(request, f"It was {given['standing']} already")
    else:
        messages.success(request, f"The recipient is {given['standing']}")
    return redirect("recipients")


@require_POST
@staff_required("recipients.see")
def lift_rule(request: StaffRequest, rule_id: int) -> HttpResponse:
    """Takes off the list at once; asks a second person to lift what restrains."""
    row = get_object_or_404(RecipientRule, pk=rule_id)
    form = ReasonForm(request.POST)
    if not form.is_valid():
        return _page(request, form=RuleForm(), lifting=row, reason=form, status=422)
    reason = form.cleaned_data["reason"]
    if row.standing != Standing.LISTED:
        return _ask(request, {"act": recipient_approvals.LIFT, "rule": row.pk}, reason)
    need(request.user, "recipients.restrict")
    if recipients.lift(row, reason=reason, user=request.user):
        messages.success(request, "It is no longer listed")
    else:
        messages.info(request, "Somebody had lifted it already")
    return redirect("recipients")


def _ask(request: StaffRequest, payload: dict[str, object], reason: str) -> HttpResponse:
    try:
        approvals.ask(kind=recipient_approvals.KIND, payload=payload, reason=reason, user=request.user)
    except approvals.NotAllowed:
        raise PermissionDenied from None
    except approvals.NotPossible as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "Asked. It holds once a second person has approved it")
    return redirect("recipients")


def _page(
    request: StaffRequest,
    *,
    form: RuleForm,
    asking: bool = False,
    lifting: RecipientRule | None = None,
    reason: ReasonForm | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {
        "standing": list(recipients.standing()[:_SHOWN]),
        "lifted": list(recipients.lifted(limit=_LIFTED)),
        "waiting": second_person.waiting(recipient_approvals.KIND),
        "form": form,
        "asking": form if asking else None,
        "effect": EFFECTS[Standing(form.cleaned_data["standing"])] if asking else "",
        "lifting": lifting,
        "reason": reason or ReasonForm(),
        "may_rule": request.user.has_perm("recipients.restrict"),
    }
    return render(request, "staff/recipients.html", context, status=status)
