"""The doors to the money: wallet, top-ups, statements, the API and the provider's webhook."""

from datetime import date

from django.urls import path, register_converter
from drf_spectacular.views import SpectacularAPIView

from billing import (
    api,
    api_docs,
    bank_pages,
    bank_refund_staff,
    budget_pages,
    card_views,
    credit_staff,
    dispute_staff,
    fx_staff,
    profile_pages,
    refund_pages,
    refund_staff,
    stripe_webhook,
    tax_pages,
    views,
)
from billing.documents import api as documents_api
from billing.documents import pages as documents


class MonthConverter:
    """`2026-11` as the first day of that month."""

    regex = "20[0-9]{2}-(?:0[1-9]|1[0-2])"

    def to_python(self, value: str) -> date:
        return date(int(value[:4]), int(value[5:]), 1)

    def to_url(self, value: date) -> str:
        return f"{value:%Y-%m}"


class NumberConverter:
    """The number of a document: `CH-2026-R-000001`."""

    regex = "[A-Z]{1,8}-20[0-9]{2}-[A-Z]-[0-9]{6,9}"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(MonthConverter, "month")
register_converter(NumberConverter, "number")

urlpatterns = [
    path("wallet/", views.wallet, name="wallet"),
    path("wallet/bank-transfers/", bank_pages.bank_transfer_start, name="bank_transfer_start"),
    path("wallet/bank-transfers/<uuid:transfer_id>/", bank_pages.bank_transfer, name="bank_transfer"),
    path("wallet/refunds/", refund_pages.refunds_page, name="refunds"),
    path("wallet/refunds/new/", refund_pages.request_refund, name="request_refund"),
    path("wallet/terms/", refund_pages.accept_terms, name="accept_terms"),
    path("wallet/top-ups/", views.top_up_start, name="top_up_start"),
    path("wallet/tax/", tax_pages.tax_preview_line, name="tax_preview"),
    path("wallet/top-ups/<uuid:top_up_id>/", views.top_up_return, name="top_up_return"),
    path("refunds/", refund_staff.staff_refunds, name="staff_refunds"),
    path("refunds/ask/", refund_staff.staff_refund_ask, name="staff_refund_ask"),
    path("refunds/<uuid:refund_id>/back/", refund_staff.staff_refund_back, name="staff_refund_back"),
    path("refunds/bank/", bank_refund_staff.bank_refunds_page, name="bank_refunds"),
    path("refunds/bank/ask/", bank_refund_staff.bank_refund_ask, name="bank_refund_ask"),
    path("refunds/disputes/", dispute_staff.staff_disputes, name="staff_disputes"),
    path("finance/rates/", fx_staff.rates_page, name="fx_rates"),
    path("credits/", credit_staff.credits_page, name="credits"),
    path("credits/ask/", credit_staff.credit_ask, name="credit_ask"),
    path("budgets/", budget_pages.budget_list, name="budgets"),
    path("budgets/set/", budget_pages.budget_set, name="budget_set"),
    path("budgets/<int:budget_id>/lift/", budget_pages.budget_lift, name="budget_lift"),
    path("wallet/top-ups/<uuid:top_up_id>/cancel/", views.top_up_cancel, name="top_up_cancel"),
    path("wallet/cards/", card_views.card_setup, name="card_setup"),
    path("wallet/cards/setup/<uuid:setup_id>/", card_views.card_return, name="card_return"),
    path("wallet/cards/<uuid:card_id>/default/", card_views.card_default, name="card_default"),
    path("wallet/cards/<uuid:card_id>/remove/", card_views.card_remove, name="card_remove"),
    path("wallet/auto-recharge/", card_views.recharge, name="auto_recharge"),
    path("wallet/auto-recharge/on/", card_views.recharge_on, name="auto_recharge_on"),
    path("wallet/auto-recharge/off/", card_views.recharge_off, name="auto_recharge_off"),
    path("statements/", views.statement_list, name="statements"),
    path("statements/<month:month>/", views.statement, name="statement"),
    path("statements/<month:month>.pdf", views.statement_as_pdf, name="statement_pdf"),
    path("statements/<month:month>.csv", views.statement_as_csv, name="statement_csv"),
    path("settings/billing/", profile_pages.billing_profile, name="billing_profile"),
    path("settings/billing/save/", profile_pages.save_billing_profile, name="save_billing_profile"),
    path("documents/", documents.document_list, name="documents"),
    path("documents/<number:number>.pdf", documents.document_as_pdf, name="document_pdf"),
    path("documents/<number:number>.json", documents.document_as_json, name="document_json"),
    path("finance/documents/<number:number>.pdf", documents.staff_document_as_pdf, name="staff_document_pdf"),
    path("api/v1/balance", api.Balance.as_view(), name="api_balance"),
    path("api/v1/usage", api.UsageList.as_view(), name="api_usage"),
    path("api/v1/statements", api.StatementList.as_view(), name="api_statements"),
    path("api/v1/statements/<month:month>", api.StatementOfMonth.as_view(), name="api_statement"),
    path("api/v1/statements/<month:month>.<slug:format>", api.StatementFile.as_view(), name="api_statement_file"),
    path("api/v1/top-ups", api.TopUpList.as_view(), name="api_top_ups"),
    path("api/v1/documents", documents_api.DocumentList.as_view(), name="api_documents"),
    path("api/v1/documents/<number:number>", documents_api.OneDocument.as_view(), name="api_document"),
    path(
        "api/v1/documents/<number:number>.<slug:format>",
        documents_api.DocumentAsFile.as_view(),
        name="api_document_file",
    ),
    path("api/v1/schema/", SpectacularAPIView.as_view(), name="api_schema"),
    path("api/v1/docs/", api_docs.page, name="api_docs"),
    path("stripe/webhook", stripe_webhook.receive, name="stripe_webhook"),
]
