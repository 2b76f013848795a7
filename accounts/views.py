"""The pages about people: settings, the choice of an account, and the one that opens an account."""

from allauth.account.models import EmailAddress
from allauth.mfa.utils import is_mfa_enabled
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from accounts import access, customers
from accounts.access import CustomerRequest
from accounts.forms import AccountForm, ProfileForm
from accounts.models import Membership, User


def _settings_page(
    request: HttpRequest,
    user: User,
    *,
    profile: ProfileForm | None = None,
    account: AccountForm | None = None,
) -> HttpResponse:
    seat = access.membership_of(request)
    members = seat.customer.memberships.select_related("user").order_by("created_at", "id") if seat else []
    context = {
        "profile": profile or ProfileForm(initial={"name": user.name}),
        "account": account or AccountForm(initial={"company": seat.customer.name if seat else ""}),
        "seat": seat,
        "is_owner": seat is not None and seat.role == Membership.Role.OWNER,
        "members": members,
        "mfa": is_mfa_enabled(user),
        "address_to_confirm": EmailAddress.objects.filter(user=user, verified=False).first(),
    }
    return render(request, "accounts/settings.html", context, status=422 if profile or account else 200)


@login_required
def settings_page(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)
    return _settings_page(request, request.user)


@require_POST
@login_required
def save_profile(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)
    form = ProfileForm(request.POST)
    if not form.is_valid():
        return _settings_page(request, request.user, profile=form)
    User.objects.filter(pk=request.user.pk).update(name=form.cleaned_data["name"])
    messages.success(request, "Profile saved")
    return redirect("settings")


@require_POST
@access.owner_required
def save_account(request: CustomerRequest) -> HttpResponse:
    form = AccountForm(request.POST)
    if not form.is_valid():
        return _settings_page(request, request.user, account=form)
    customers.rename(request.customer, user=request.user, name=form.cleaned_data["company"])
    messages.success(request, "Account saved")
    return redirect("settings")


@require_POST
@login_required
def choose_customer(request: HttpRequest, customer_id: int) -> HttpResponse:
    access.choose(request, customer_id=customer_id)
    return redirect("overview")


@require_http_methods(["GET", "POST"])
@login_required
def open_account(request: HttpRequest) -> HttpResponse:
    """For a user without a seat: names the account that will pay."""
    assert isinstance(request.user, User)
    if access.membership_of(request):
        return redirect("overview")
    form = AccountForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        customers.open_first_for(request.user, name=form.cleaned_data["company"])
        return redirect("overview")
    return render(request, "accounts/open_account.html", {"form": form}, status=422 if form.errors else 200)
