"""The REST API of one customer's money: balance, usage, statements and top-ups, all exact and all read-only."""

import json
from datetime import date
from typing import Any

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import customer_of
from accounts.models import ApiKey, Customer
from billing import statements, usage
from billing.display import usd_exact
from billing.documents import statement_pdf
from billing.exports import statement_csv, usage_csv
from billing.models import TopUp, Wallet
from billing.statements import Statement

LARGEST_ID = 2**63 - 1
PAGE = 100
LARGEST_PAGE = 1_000


class Csv(BaseRenderer):
    """`?format=csv` or `Accept: text/csv`."""

    media_type = "text/csv"
    format = "csv"

    def render(self, data: Any, *_: Any, **__: Any) -> bytes:
        return json.dumps(data).encode()


class Pdf(Csv):
    """`?format=pdf` or `Accept: application/pdf`."""

    media_type = "application/pdf"
    format = "pdf"


class FileView(APIView):
    """A view whose answer can be a file; what goes wrong is told in JSON all the same."""

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        finished = super().finalize_response(request, response, *args, **kwargs)
        if isinstance(finished, Response) and finished.exception:
            finished.accepted_renderer, finished.accepted_media_type = JSONRenderer(), "application/json"
        return finished


@extend_schema_field({"type": "string", "pattern": "^-?[0-9]+$"})
class Whole(serializers.Field[int, str, str, Any]):
    """A whole number of any size as a string, so that no reader rounds it."""

    def to_representation(self, value: int) -> str:
        return str(int(value))


@extend_schema_field({"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{9}$"})
class Dollars(serializers.Field[int, str, str, Any]):
    """Nano-dollars as dollars with all nine decimals."""

    def to_representation(self, value: int) -> str:
        return usd_exact(value)


class BalanceAnswer(serializers.Serializer[Any]):
    """`available` is all that can be spent; `promotional` is part of it. Nothing is signed while anything is owed."""

    available_nano_usd = Whole()
    available_usd = Dollars(source="available_nano_usd")
    promotional_nano_usd = Whole()
    owed_nano_usd = Whole()
    account_status = serializers.ChoiceField(Customer.Status.choices)
    as_of = serializers.DateTimeField()


class UsageQuery(serializers.Serializer[Any]):
    """What to look for; all of it may be left out."""

    key = serializers.CharField(required=False, max_length=16, help_text="One API key, by its first 16 characters.")
    session = serializers.UUIDField(required=False, help_text="One session of the signer.")
    cursor = serializers.IntegerField(
        required=False, min_value=1, max_value=LARGEST_ID, help_text="The next_cursor of the page before."
    )
    limit = serializers.IntegerField(
        required=False, min_value=1, max_value=LARGEST_PAGE, default=PAGE, help_text="Charges a page."
    )

    def get_fields(self) -> dict[str, Any]:
        formats = ["iso-8601", "%Y-%m-%d"]
        bounds = {
            "from": serializers.DateTimeField(required=False, input_formats=formats, help_text="First moment, UTC."),
            "to": serializers.DateTimeField(
                required=False, input_formats=formats, help_text="First moment that no longer counts, UTC."
            ),
        }
        return {**bounds, **super().get_fields()}


class Charge(serializers.Serializer[Any]):
    """One payment: what was handed out, at which rate, and what it cost."""

    id = Whole()
    at = serializers.DateTimeField()
    key = serializers.CharField(source="api_key.prefix")
    session = serializers.UUIDField(source="source")
    label = serializers.CharField()  # type: ignore[assignment]  # a member of the answer
    kind = serializers.CharField()
    orchestrator = serializers.CharField(source="counterparty")
    tickets = serializers.IntegerField(source="quantity")
    billed_units = Whole()
    fee_wei = Whole(help_text="The fee computed from units and price; information only.")
    expected_value_wei = Whole(source="cost_wei")
    eth_usd = Dollars(source="rate.nano_usd_per_eth")
    markup_bps = serializers.IntegerField()
    charge_nano_usd = Whole()
    charge_usd = Dollars(source="charge_nano_usd")


class MonthAnswer(serializers.Serializer[Any]):
    month = serializers.SerializerMethodField()
    final = serializers.BooleanField(
        help_text="True an hour after the month's end; then nothing of it changes any more."
    )
    credited_nano_usd = Whole()
    charge_nano_usd = Whole()
    closing_nano_usd = Whole()

    def get_month(self, line: statements.MonthSum) -> str:
        return f"{line.month:%Y-%m}"


class EntryAnswer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    type = serializers.CharField(source="kind")
    description = serializers.CharField()
    reference = serializers.CharField()
    amount_nano_usd = Whole()


class UsageLineAnswer(serializers.Serializer[Any]):
    day = serializers.DateField()
    key = serializers.CharField(source="api_key_prefix")
    label = serializers.CharField()  # type: ignore[assignment]  # a member of the answer
    kind = serializers.CharField()
    orchestrator = serializers.CharField(source="counterparty")
    payments = serializers.IntegerField()
    tickets = serializers.IntegerField(source="quantity")
    expected_value_wei = Whole(source="cost_wei")
    charge_nano_usd = Whole()
    promo_nano_usd = Whole()


class StatementAnswer(serializers.Serializer[Any]):
    """`opening + top_ups + other - charge = closing`, exactly.

    Of these, promotional credit: `promo_opening + promo_given - promo_ended - promo_used = promo_closing`. No part of
    them is what stands beside the balance at the end: kept aside for a dispute, refunds on their way, and what is owed.
    """

    number = serializers.CharField()
    month = serializers.SerializerMethodField()
    final = serializers.BooleanField(
        help_text="True an hour after the month's end; then nothing of it changes any more."
    )
    currency = serializers.SerializerMethodField()
    opening_nano_usd = Whole()
    top_ups_nano_usd = Whole()
    other_nano_usd = Whole()
    charge_nano_usd = Whole()
    closing_nano_usd = Whole()
    promo_opening_nano_usd = Whole()
    promo_given_nano_usd = Whole()
    promo_ended_nano_usd = Whole()
    promo_used_nano_usd = Whole()
    promo_closing_nano_usd = Whole()
    kept_aside_nano_usd = Whole(source="beside.frozen_nano_usd")
    refunding_nano_usd = Whole(source="beside.refunding_nano_usd")
    owed_nano_usd = Whole(source="beside.owed_nano_usd")
    payments = serializers.IntegerField()
    expected_value_wei = Whole(source="cost_wei")
    entries = EntryAnswer(many=True)
    usage = UsageLineAnswer(many=True)

    def get_month(self, statement: Statement) -> str:
        return f"{statement.month:%Y-%m}"

    def get_currency(self, statement: Statement) -> str:
        return "USD"


class TopUpAnswer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    status = serializers.ChoiceField(TopUp.Status.choices)
    amount_cents = serializers.IntegerField()
    currency = serializers.CharField()
    card = serializers.CharField()
    failure = serializers.CharField()
    receipt_url = serializers.CharField()
    created_at = serializers.DateTimeField()
    settled_at = serializers.DateTimeField(allow_null=True)


def _listed(name: str, item: type[serializers.Serializer[Any]], **more: Any) -> Any:
    return inline_serializer(name, {"data": item(many=True), **more})


class Balance(APIView):
    @extend_schema(operation_id="balance", summary="What can be spent now", responses=BalanceAnswer)
    def get(self, request: Request) -> Response:
        customer = customer_of(request)
        wallet = Wallet.objects.filter(customer=customer).first()
        answer = {
            "available_nano_usd": wallet.available_nano_usd if wallet else 0,
            "promotional_nano_usd": wallet.promo_nano_usd if wallet else 0,
            "owed_nano_usd": wallet.debt_nano_usd if wallet else 0,
            "account_status": customer.status,
            "as_of": timezone.now(),
        }
        return Response(BalanceAnswer(answer).data)


class UsageList(FileView):
    renderer_classes = [JSONRenderer, Csv]

    @extend_schema(
        operation_id="usage",
        summary="Single charges, newest first",
        description="JSON comes in pages: follow next_cursor until it is null. CSV is everything at once.",
        parameters=[
            UsageQuery,
            OpenApiParameter("format", str, enum=["json", "csv"], description="JSON when left out."),
        ],
        responses=_listed("UsagePage", Charge, next_cursor=serializers.CharField(allow_null=True)),
    )
    def get(self, request: Request) -> HttpResponseBase:
        query = UsageQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        found = usage.charges(
            customer_of(request).pk,
            since=asked.get("from"),
            until=asked.get("to"),
            api_key_id=_key_id(request, asked["key"]) if "key" in asked else None,
            source=asked.get("session"),
            before_id=asked.get("cursor"),
        )
        if request.accepted_renderer.format == "csv":
            return _file(usage_csv.lines(found.iterator(chunk_size=2_000)), "usage.csv")
        page = list(found[: asked["limit"] + 1])
        shown = page[: asked["limit"]]
        cursor = str(shown[-1].id) if len(page) > len(shown) else None
        return Response({"data": Charge(shown, many=True).data, "next_cursor": cursor})


class StatementList(APIView):
    @extend_schema(
        operation_id="statements", summary="Months with a statement", responses=_listed("StatementList", MonthAnswer)
    )
    def get(self, request: Request) -> Response:
        lines = statements.list_months(customer_of(request), now=timezone.now())
        return Response({"data": MonthAnswer(lines, many=True).data})


class StatementOfMonth(FileView):
    renderer_classes = [JSONRenderer, Csv, Pdf]

    @extend_schema(
        operation_id="statement",
        summary="The statement of a month",
        description="The running month gives the statement so far. The month followed by .csv or .pdf does the same as"
        " the format parameter.",
        parameters=[
            OpenApiParameter(
                "month",
                str,
                OpenApiParameter.PATH,
                pattern="^20[0-9]{2}-(0[1-9]|1[0-2])$",
                description="Year and month, such as 2026-11.",
            ),
            OpenApiParameter("format", str, enum=["json", "csv", "pdf"], description="JSON when left out."),
        ],
        responses=StatementAnswer,
    )
    def get(self, request: Request, month: date, format: str | None = None) -> HttpResponseBase:
        now = timezone.now()
        customer = customer_of(request)
        if month not in statements.months(customer, now=now):
            raise NotFound("There is no statement for this month.")
        statement = statements.of_month(customer, month, now=now)
        match request.accepted_renderer.format:
            case "csv":
                return _file(statement_csv.lines(statement), f"{statement.number}.csv")
            case "pdf":
                answer = HttpResponse(statement_pdf.render(statement), content_type="application/pdf")
                answer.headers["Content-Disposition"] = f'attachment; filename="{statement.number}.pdf"'
                return answer
        return Response(StatementAnswer(statement).data)


@extend_schema(exclude=True)
class StatementFile(StatementOfMonth):
    """The same under `.json`, `.csv` and `.pdf`."""


class TopUpList(APIView):
    @extend_schema(
        operation_id="top_ups",
        summary="Payments into the wallet, newest first",
        responses=_listed("TopUpList", TopUpAnswer),
    )
    def get(self, request: Request) -> Response:
        found = TopUp.objects.filter(customer=customer_of(request)).order_by("-created_at")[:LARGEST_PAGE]
        return Response({"data": TopUpAnswer(found, many=True).data})


def _key_id(request: Request, prefix: str) -> int:
    """The customer's own key with this prefix; somebody else's is as unknown as one that never was."""
    key = ApiKey.objects.filter(customer=customer_of(request), prefix=prefix).first()
    if key is None:
        raise serializers.ValidationError({"key": ["No key of this account begins so."]})
    return key.pk


def _file(lines: Any, name: str) -> StreamingHttpResponse:
    answer = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer
