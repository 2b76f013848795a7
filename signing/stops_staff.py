"""The kill switch's page: what stands stopped, by whom and why; throwing a stop and lifting it."""

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.access import StaffRequest, need, staff_required
from signing import stops
from signing.models import Stop
from signing.stops_forms import WORD, ConfirmedStopForm, StopForm, Target, named

_LIFTED = 20
# One customer's or key's stop is thrown by everybody who sees the damage; what concerns many needs a heavier hand.
_ONE = {Stop.Scope.CUSTOMER, Stop.Scope.API_KEY}
EFFECTS = {
    Stop.Scope.ALL: "Within two seconds no payment is signed for anybody. Running sessions wait and go on if this is"
    " lifted soon.",
    Stop.Scope.SENDER: "Within two seconds nothing is signed with this key. Sessions of its customers wait and go on if"
    " this is lifted soon.",
    Stop.Scope.CUSTOMER: "Within two seconds no payment of this account is signed. Running sessions end; once this is"
    " lifted, its gateways have to be started again.",
    Stop.Scope.API_KEY: "Within two seconds no payment with this key is signed. Running sessions end; once this is"
    " lifted, its gateways have to be started again.",
    Stop.Scope.RECIPIENT: "Within two seconds no ticket is signed for this recipient, and it is not listed to gateways."
    " Running sessions with it end. Tickets it holds already can still be redeemed.",
}


@never_cache
@require_http_methods(["GET", "POST"])
@staff_required("stops.see")
def stops_page(request: StaffRequest) -> HttpResponse:
    """The page; a stop sent to it is only looked at: what it would do is shown, to be confirmed.

    It is sent and not asked for, because somebody may paste a whole key, which belongs in no log of addresses.
    """
    if request.method == "POST":
        return _review(request)
    if "lift" in request.GET:
        number = request.GET["lift"]
        row = stops.standing().filter(pk=int(number)).first() if number.isdecimal() and len(number) < 18 else None
        return _page(request, lifting=row)
    return _page(request, form=StopForm(initial={name: request.GET.get(name, "") for name in ("scope", "subject")}))


def _review(request: StaffRequest) -> HttpResponse:
    form = StopForm(request.POST)
    if not form.is_valid():
        return _page(request, form=form, status=422)
    typed = {name: request.POST.get(name, "") for name in form.fields}
    return _page(request, form=form, confirmation=ConfirmedStopForm(initial=typed), target=form.cleaned_data["target"])


@require_POST
@staff_required("stops.throw")
def throw_stop(request: StaffRequest) -> HttpResponse:
    """Throws it, once however often its form is sent."""
    form = ConfirmedStopForm(request.POST)
    if not form.is_valid():
        asking = form if set(form.errors) == {"typed"} else None
        return _page(request, form=form, confirmation=asking, target=form.cleaned_data.get("target"), status=422)
    target: Target = form.cleaned_data["target"]
    need(request.user, _right("throw", target.scope))
    try:
        stops.throw(scope=target.scope, subject=target.subject, reason=form.cleaned_data["reason"], user=request.user)
    except stops.AlreadyStopped:
        messages.info(request, f"{target.name} was stopped already")
    else:
        messages.success(request, f"{target.name} stopped")
    return redirect("stops")


@require_POST
@staff_required("stops.see")
def lift_stop(request: StaffRequest, stop_id: int) -> HttpResponse:
    stop = get_object_or_404(Stop, pk=stop_id)
    need(request.user, _right("lift", stop.scope))
    if stops.lift(stop, user=request.user):
        messages.success(request, "Stop lifted")
    else:
        messages.info(request, "Somebody had lifted it already")
    return redirect("stops")


def _right(act: str, scope: str) -> str:
    """The right to throw or lift a stop of this scope."""
    return f"stops.{act}" if scope in _ONE else f"stops.{act}_all"


def _page(
    request: StaffRequest,
    *,
    form: StopForm | None = None,
    confirmation: ConfirmedStopForm | None = None,
    target: Target | None = None,
    lifting: Stop | None = None,
    status: int = 200,
) -> HttpResponse:
    form = form or StopForm()
    field = form.fields["scope"]
    assert isinstance(field, forms.ChoiceField)
    field.choices = [choice for choice in Stop.Scope.choices if request.user.has_perm(_right("throw", choice[0]))]
    context = {
        "standing": [
            (stop, name, request.user.has_perm(_right("lift", stop.scope)))
            for stop, name in named(list(stops.standing()))
        ],
        "lifted": named(list(stops.lifted(limit=_LIFTED))),
        "form": form,
        "confirmation": confirmation,
        "target": target,
        "effect": EFFECTS[Stop.Scope(target.scope)] if target else "",
        "word": WORD,
        "lifting": named([lifting])[0] if lifting else None,
    }
    return render(request, "staff/stops.html", context, status=status)
