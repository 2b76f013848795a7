"""The customer's documents: a list, and each as a file; staff get any customer's files."""

from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.access import CustomerRequest, StaffRequest, customer_required, staff_required
from billing.documents import archive, document_pdf
from billing.models import Document

_SHOWN = 300


@never_cache
@require_GET
@customer_required
def document_list(request: CustomerRequest) -> HttpResponse:
    found = Document.objects.filter(customer=request.customer).select_related("corrects").order_by("-issued_at", "-id")
    return render(request, "billing/documents.html", {"documents": [shown(document) for document in found[:_SHOWN]]})


@never_cache
@require_GET
@customer_required
def document_as_pdf(request: CustomerRequest, number: str) -> HttpResponse:
    return pdf_answer(get_object_or_404(Document, number=number, customer=request.customer))


@never_cache
@require_GET
@customer_required
def document_as_json(request: CustomerRequest, number: str) -> HttpResponse:
    return json_answer(get_object_or_404(Document, number=number, customer=request.customer))


@never_cache
@require_GET
@staff_required("documents.see")
def staff_document_as_pdf(request: StaffRequest, number: str) -> HttpResponse:
    return pdf_answer(get_object_or_404(Document, number=number))


def pdf_answer(document: Document) -> HttpResponse:
    return _named(HttpResponse(archive.pdf(document), content_type="application/pdf"), f"{document.number}.pdf")


def json_answer(document: Document) -> HttpResponse:
    """The snapshot, member for member what the hash was taken of."""
    return _named(JsonResponse(document.snapshot), f"{document.number}.json")


def shown(document: Document) -> dict[str, object]:
    """A line of a list: the amounts in the document's own currency."""
    totals, currency = document.snapshot["totals"], document.snapshot["currency"]
    return {
        "document": document,
        "title": document_pdf.TITLES[document.kind],
        "net": document_pdf.money(totals["net"], currency),
        "tax": document_pdf.money(totals["tax"], currency) if document.tax_cents else "",
        "total": document_pdf.money(totals["total"], currency),
    }


def _named(response: HttpResponse, name: str) -> HttpResponse:
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
