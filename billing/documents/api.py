"""Documents over the REST API: the list, and each as JSON or PDF."""

from typing import Any

from django.http import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import customer_of
from billing.api import LARGEST_ID, LARGEST_PAGE, FileView, Pdf
from billing.documents import pages
from billing.models import Document

PAGE = 100


class DocumentQuery(serializers.Serializer[Any]):
    cursor = serializers.IntegerField(
        required=False, min_value=1, max_value=LARGEST_ID, help_text="The next_cursor of the page before."
    )
    limit = serializers.IntegerField(
        required=False, min_value=1, max_value=LARGEST_PAGE, default=PAGE, help_text="Documents a page."
    )


class DocumentAnswer(serializers.Serializer[Any]):
    number = serializers.CharField()
    kind = serializers.ChoiceField(Document.Kind.choices)
    issued_at = serializers.DateTimeField()
    currency = serializers.CharField()
    net_cents = serializers.IntegerField()
    tax_cents = serializers.IntegerField()
    total_cents = serializers.IntegerField()
    top_up = serializers.UUIDField(source="top_up_id", allow_null=True)
    corrects = serializers.SerializerMethodField()
    sha256 = serializers.CharField(source="snapshot_sha256", help_text="Of the document's canonical JSON.")

    def get_corrects(self, document: Document) -> str | None:
        """The number of the receipt that a credit note corrects."""
        return document.corrects.number if document.corrects else None


class DocumentList(APIView):
    @extend_schema(
        operation_id="documents",
        summary="Receipts, credit notes and pro-formas, newest first",
        parameters=[DocumentQuery],
        responses=inline_serializer(
            "DocumentPage",
            {"data": DocumentAnswer(many=True), "next_cursor": serializers.CharField(allow_null=True)},
        ),
    )
    def get(self, request: Request) -> Response:
        query = DocumentQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        found = Document.objects.filter(customer=customer_of(request)).select_related("corrects").order_by("-id")
        if "cursor" in asked:
            found = found.filter(id__lt=asked["cursor"])
        page = list(found[: asked["limit"] + 1])
        given = page[: asked["limit"]]
        cursor = str(given[-1].pk) if len(page) > len(given) else None
        return Response({"data": DocumentAnswer(given, many=True).data, "next_cursor": cursor})


class OneDocument(FileView):
    renderer_classes = [JSONRenderer, Pdf]

    @extend_schema(
        operation_id="document",
        summary="One document",
        description="JSON holds what the PDF says. The number followed by .json or .pdf does the same as the format"
        " parameter.",
        parameters=[OpenApiParameter("format", str, enum=["json", "pdf"], description="JSON when left out.")],
        responses={200: dict},
    )
    def get(self, request: Request, number: str, format: str | None = None) -> HttpResponseBase:
        document = Document.objects.filter(customer=customer_of(request), number=number).first()
        if document is None:
            raise NotFound("There is no document of this number.")
        if request.accepted_renderer.format == "pdf":
            return pages.pdf_answer(document)
        return Response(document.snapshot)


@extend_schema(exclude=True)
class DocumentAsFile(OneDocument):
    """The same under `.json` and `.pdf`."""
