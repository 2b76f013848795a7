"""The letters about automatic recharge: the row says which one waits, the clock sends it to the owners."""

import logging
from smtplib import SMTPException

from django.conf import settings
from django.urls import reverse

from accounts import mail
from accounts.mail import Letter
from accounts.models import Membership
from billing import display
from billing.models import AutoRecharge, TopUp
from billing.money import NANO_USD_PER_CENT

log = logging.getLogger(__name__)


def send_waiting(*, limit: int = 100) -> int:
    """Sends what waits; one that the mail server refuses waits for the next round. Returns how many were sent."""
    sent = 0
    waiting = AutoRecharge.objects.exclude(notice="").select_related("customer", "card")[:limit]
    for recharge in waiting:
        try:
            for owner in _owners(recharge):
                mail.send(letter(recharge), to=owner)
        except (SMTPException, OSError) as error:
            log.warning("customer %s hears of its recharge later: %s", recharge.customer_id, type(error).__name__)
            continue
        # A newer notice stays: it is a letter of its own.
        AutoRecharge.objects.filter(customer_id=recharge.customer_id, notice=recharge.notice).update(notice="")
        sent += 1
    return sent


def letter(recharge: AutoRecharge) -> Letter:
    name, card = recharge.customer.name, str(recharge.card or "your card")
    last = TopUp.objects.filter(customer_id=recharge.customer_id, method=TopUp.Method.AUTO).order_by("-created_at")
    why = next((row.failure for row in last[:1]), "")
    cap = display.usd_text(recharge.cap_cents * NANO_USD_PER_CENT)
    # By the time the letter leaves, that month may be over.
    month = f"in {recharge.capped_month:%B %Y}" if recharge.capped_month else "this month"
    subject, paragraphs = {
        AutoRecharge.Notice.DECLINED: (
            f"{card} was declined",
            [f"We tried to recharge the balance of {name}. {why}", "We try again in an hour, three times in all."],
        ),
        AutoRecharge.Notice.GAVE_UP: (
            "Automatic recharge is off",
            [f"{card} was declined several times. {why}", "Nothing is charged any more until you switch it on again."],
        ),
        AutoRecharge.Notice.BURST: (
            "Automatic recharge is off",
            [
                f"{card} was charged three times within ten minutes, which looks like a mistake.",
                "Look at your usage and keys. Nothing is charged any more until you switch it on again.",
            ],
        ),
        AutoRecharge.Notice.CAPPED: (
            "The monthly limit of automatic recharge is reached",
            [f"The balance of {name} is low, and {cap} were charged {month}.", "Raise the limit or top up by hand."],
        ),
    }[AutoRecharge.Notice(recharge.notice)]
    return Letter(
        subject=subject,
        paragraphs=paragraphs,
        action=("Look at automatic recharge", f"{settings.WEB_URL}{reverse('auto_recharge')}"),
        small=["Payments are refused when the balance is used up."],
        why=f"because automatic recharge was set up for {name}.",
    )


def _owners(recharge: AutoRecharge) -> list[str]:
    seats = Membership.objects.filter(customer_id=recharge.customer_id, role=Membership.Role.OWNER)
    return list(seats.values_list("user__email", flat=True))
