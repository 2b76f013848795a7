"""The letters about budgets: one when most of it is spent, one when it is used up, each once a period."""

from django.conf import settings
from django.db.models import F
from django.urls import reverse
from django.utils import timezone

from accounts import moments, notices
from accounts.mail import Letter
from accounts.models import Notice
from billing import budgets
from billing.budgets import Standing
from billing.display import usd_text
from billing.models import Budget, Usage

NEAR_PERCENT = 80
_LATEST = 500


def watch() -> int:
    """Writes the letter of every budget that came so far in its period; returns how many budgets it looked at."""
    now = timezone.now()
    rows = Budget.objects.filter(lifted_at=None, spent_nano_usd__gte=F("limit_nano_usd") / 100 * NEAR_PERCENT)
    looked = 0
    for row in rows.select_related("customer", "api_key", "set_by").order_by("id"):
        looked += 1
        standing = budgets.standing(row, now=now)
        if standing.spent_nano_usd * 100 >= row.limit_nano_usd * NEAR_PERCENT:
            _tell(standing)
    return looked


def _tell(standing: Standing) -> None:
    budget = standing.budget
    period = f"budget:{budget.pk}:{budget.period_start}"
    used_up = f"{period}:used_up"
    if Notice.objects.filter(reference=used_up).exists():
        return
    if is_used_up(standing):
        notices.write(budget.customer, reference=used_up, letter=letter(standing, used_up=True))
    else:
        notices.write(budget.customer, reference=f"{period}:near", letter=letter(standing, used_up=False))


def is_used_up(standing: Standing) -> bool:
    """Whether what is left pays no payment like the latest one: a payment beyond the limit is refused whole."""
    budget, left = standing.budget, standing.left_nano_usd
    latest = Usage.objects.filter(customer_id=budget.customer_id).order_by("-id")
    charges = latest.values_list("api_key_id", "charge_nano_usd")[:_LATEST]
    last = next((charge for key, charge in charges if budget.api_key_id in (None, key)), 0)
    return left < max(last, 1)


def letter(standing: Standing, *, used_up: bool) -> Letter:
    budget = standing.budget
    limit = f"{usd_text(budget.limit_nano_usd)} {budget.get_period_display()}"
    whose = f"of the key {budget.api_key.name}" if budget.api_key else f"of {budget.customer.name}"
    again = f"It starts again on {moments.day(standing.again_at)} at 00:00 UTC." if standing.again_at else ""
    if used_up:
        subject = f"The budget {whose} is used up: {limit}"
        words = [
            f"{usd_text(standing.spent_nano_usd)} are spent, and what is left is less than the latest payment. "
            "Payments beyond it are refused (402 key_limit_reached).",
            f"{again} Raise or lift the budget to go on sooner.".strip(),
        ]
    else:
        percent = standing.spent_nano_usd * 100 // budget.limit_nano_usd
        subject = f"{percent} % of the budget {whose} is spent"
        words = [
            f"{usd_text(standing.spent_nano_usd)} of {limit} are spent. When it is used up, payments are refused.",
            again or "It is a budget in all: it does not start again.",
        ]
    return Letter(
        subject=subject,
        paragraphs=words,
        action=("Look at your budgets", f"{settings.WEB_URL}{reverse('budgets')}"),
        why=f"because you own the account {budget.customer.name}.",
    )
