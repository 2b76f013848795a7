"""The doors of the staff pages beside the console."""

from django.urls import path
from django.views.generic import RedirectView

from billing import bank_staff, provider_staff, risk_staff
from billing import staff as finance
from signing import evidence_staff, recipients_staff, staff, stops_staff

urlpatterns = [
    path("treasury/", staff.treasury, name="treasury"),
    path("treasury/figures/", staff.figures, name="treasury_figures"),
    path("treasury/requests/", staff.funding_requests, name="funding_requests"),
    path("treasury/fund/", staff.fund, name="fund"),
    path("stops/", stops_staff.stops_page, name="stops"),
    path("stops/throw/", stops_staff.throw_stop, name="throw_stop"),
    path("stops/<int:stop_id>/lift/", stops_staff.lift_stop, name="lift_stop"),
    path("recipients/", recipients_staff.recipients_page, name="recipients"),
    path("recipients/rule/", recipients_staff.rule_recipient, name="rule_recipient"),
    path("recipients/<int:rule_id>/lift/", recipients_staff.lift_rule, name="lift_rule"),
    path("risk/", risk_staff.risk_page, name="risk"),
    path("risk/<int:customer_id>/", risk_staff.risk_account, name="risk_account"),
    path("risk/<int:customer_id>/evidence.zip", evidence_staff.evidence_pack, name="evidence"),
    path("risk/<int:customer_id>/<slug:act>/", risk_staff.act_on_risk, name="risk_act"),
    path("finance/", finance.finance, name="finance"),
    path("finance/provider/", provider_staff.provider, name="provider"),
    path("finance/provider/<month:month>.csv", provider_staff.tie_out_file, name="provider_tie_out"),
    path("finance/provider/events/<int:event_id>/again/", provider_staff.try_event_again, name="try_event_again"),
    path("finance/bank/", bank_staff.bank, name="bank"),
    path("finance/bank/file/", bank_staff.enter_file, name="bank_enter_file"),
    path("finance/bank/line/", bank_staff.enter_line, name="bank_enter_line"),
    path("finance/bank/<int:line_id>/", bank_staff.line, name="bank_line"),
    path("finance/bank/<int:line_id>/match/", bank_staff.match, name="bank_match"),
    path("finance/bank/<int:line_id>/aside/", bank_staff.put_aside, name="bank_put_aside"),
    path("finance/bank/<int:line_id>/credit/", bank_staff.credit, name="bank_credit"),
    path("finance/check/", finance.check_books, name="finance_check_books"),
    path("finance/<month:month>/", finance.month, name="finance_month"),
    path("finance/<month:month>/statements.zip", finance.statements, name="finance_statements"),
    path("finance/<month:month>/general-ledger.csv", finance.general_ledger, name="finance_general_ledger"),
    path("finance/<month:month>/books.zip", finance.books_archive, name="finance_books"),
    path("finance/<month:month>/trial-balance.csv", finance.trial_balance, name="finance_trial_balance"),
    path("staff/treasury/", RedirectView.as_view(pattern_name="treasury")),
    path("staff/stops/", RedirectView.as_view(pattern_name="stops")),
    path("staff/recipients/", RedirectView.as_view(pattern_name="recipients")),
    path("staff/finance/", RedirectView.as_view(pattern_name="finance")),
]
