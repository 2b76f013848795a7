"""The customer's pages about bank transfers: asking for the pro-forma, and how the transfer stands."""

import uuid

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts import origin
from accounts.access import CustomerRequest, customer_required
from accounts.models import Customer
from billing import bank_transfers, stripe_gateway, taxing
from billing.bank_forms import BankTransferForm
from billing.models import BankTransfer, Document


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@customer_required
def bank_transfer_start(request: CustomerRequest) -> HttpResponse:
    """The form and, above it, the transfers so far; the same form sent twice is one wish."""
    form = BankTransferForm(request.POST if request.method == "POST" else None)
    status = 200
    if request.method == "POST" and request.customer.status != Customer.Status.ACTIVE:
        status = 403
    elif request.method == "POST" and form.is_valid():
        try:
            transfer = bank_transfers.start(
                customer=request.customer,
                user=request.user,
                amount_cents=form.cleaned_data["amount"],
                po_number=form.cleaned_data["po_number"],
                wish_id=form.cleaned_data["wish"],
                ip=origin.address_of(request),
            )
        except bank_transfers.NotOffered:
            status = 503
        except taxing.ProfileNeeded:
            return redirect(f"{reverse('billing_profile')}?why=top-up")
        except (taxing.TaxesDiffer, stripe_gateway.Unavailable, stripe_gateway.Refused, stripe_gateway.NotConfigured):
            form.add_error(None, "The tax could not be worked out just now. Try again in a moment.")
            status = 503
        else:
            return redirect("bank_transfer", transfer.pk)
    elif request.method == "POST":
        status = 422
    known = BankTransfer.objects.filter(top_up__customer=request.customer).select_related("top_up")
    context = {
        "form": form,
        "offered": bank_transfers.offered(),
        "taxed": taxing.is_on(),
        "transfers": known.order_by("-created_at")[:50],
    }
    return render(request, "billing/bank_transfers.html", context, status=status)


@never_cache
@require_safe
@customer_required
def bank_transfer(request: CustomerRequest, transfer_id: uuid.UUID) -> HttpResponse:
    transfer = get_object_or_404(
        BankTransfer.objects.select_related("top_up"), pk=transfer_id, top_up__customer=request.customer
    )
    documents = Document.objects.filter(top_up=transfer.top_up).order_by("issued_at")
    context = {
        "transfer": transfer,
        "pay_to": bank_transfers.pay_to(transfer),
        "documents": documents,
    }
    return render(request, "billing/bank_transfer.html", context)
