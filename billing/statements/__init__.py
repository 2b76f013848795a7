"""A month of one customer's prepaid account, to the nano-dollar, for the page, the PDF, the CSV and the API alike."""

from billing.statements.months import MonthSum, closes_at, is_closed, list_months, months, next_month
from billing.statements.reading import of_month
from billing.statements.statement import Entry, Movement, Statement, UsageLine
from billing.statements.sums import DaySum, Group, days, groups

__all__ = [
    "DaySum",
    "Entry",
    "Group",
    "MonthSum",
    "Movement",
    "Statement",
    "UsageLine",
    "closes_at",
    "days",
    "groups",
    "is_closed",
    "list_months",
    "months",
    "next_month",
    "of_month",
]
