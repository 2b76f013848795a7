"""The clocks' doors to the money: each finds the rows that wait, so a lost message loses nothing."""

import logging
import threading
import uuid
from typing import Any

from celery import Task, shared_task
from django.conf import settings
from kombu.exceptions import OperationalError

from billing import auto_recharge as recharge
from billing import (
    bank_statement,
    budget_letters,
    cards,
    disputes,
    documents,
    fraud_checks,
    fx,
    inbox,
    ledger,
    profiles,
    recharge_letters,
    refunds,
    stripe_gateway,
    tax_telling,
    topups,
)
from billing.documents import archive, post, sellers
from billing.reconciliation import tie_out

log = logging.getLogger(__name__)

_MOST_AT_ONCE = 8
_telling = threading.Lock()
_being_told: set[tuple[str, tuple[str, ...]]] = set()


@shared_task
def handle_stripe_events() -> int:
    return inbox.handle_waiting()


@shared_task
def settle_top_up(top_up_id: str) -> str:
    """For the page somebody came back to; when the provider does not answer, the sweep goes on asking."""
    try:
        return topups.settle(uuid.UUID(top_up_id))
    except (stripe_gateway.Unavailable, stripe_gateway.Refused) as error:
        log.warning("top-up %s is asked for again later: %s", top_up_id, error)
        return ""


@shared_task
def cancel_top_up(top_up_id: str) -> str:
    """For somebody who does not want to pay any more; when the provider does not answer, the page just stays open."""
    try:
        return topups.cancel(uuid.UUID(top_up_id))
    except (stripe_gateway.Unavailable, stripe_gateway.Refused) as error:
        log.warning("top-up %s could not be called off: %s", top_up_id, error)
        return ""


@shared_task
def sweep_top_ups() -> int:
    return topups.sweep() + cards.sweep()


@shared_task
def settle_card_setup(setup_id: str) -> str:
    """For the page somebody came back to; when the provider does not answer, the sweep goes on asking."""
    try:
        return cards.settle_setup(uuid.UUID(setup_id))
    except (stripe_gateway.Unavailable, stripe_gateway.Refused) as error:
        log.warning("card setup %s is asked for again later: %s", setup_id, error)
        return ""


@shared_task
def auto_recharge() -> int:
    return recharge.run()


@shared_task
def send_recharge_letters() -> int:
    return recharge_letters.send_waiting()


@shared_task
def watch_budgets() -> int:
    return budget_letters.watch()


@shared_task
def refresh_fx_rates() -> int:
    return fx.refresh()


@shared_task
def issue_documents() -> int:
    """Takes over what the settings say of the seller, then issues, files and mails what waits."""
    sellers.follow_settings()
    return documents.issue_missing_receipts() + archive.keep_missing() + post.send_waiting()


@shared_task
def check_tax_ids() -> int:
    return profiles.check_waiting()


@shared_task
def tell_taxes() -> int:
    return tax_telling.work()


@shared_task
def poll_provider() -> dict[str, int]:
    return tie_out.refresh() if settings.STRIPE_SECRET_KEY else {}


@shared_task
def book_bank_lines() -> int:
    bank_statement.match_alone()
    return bank_statement.book_matched()


@shared_task
def tie_out_provider() -> bool:
    return bool(settings.STRIPE_SECRET_KEY) and tie_out.run_when_due()


@shared_task
def work_refunds() -> int:
    return refunds.work()


@shared_task
def check_fraud() -> int:
    return fraud_checks.look()


@shared_task
def sweep_disputes() -> int:
    return disputes.sweep()


@shared_task
def post_usage() -> int:
    return ledger.post_usage()


@shared_task
def end_grants() -> int:
    return ledger.expire_grants()


@shared_task
def age_grants() -> int:
    return ledger.age_grants()


def wake(task: "Task[Any, Any]", *arguments: str) -> None:
    """Asks the worker to look now, without waiting: a broker that is away costs nobody's request a moment.

    What is not told to the worker here is found by its clock.
    """
    message = (task.name, arguments)
    with _telling:
        if message in _being_told or len(_being_told) >= _MOST_AT_ONCE:
            return
        _being_told.add(message)
    threading.Thread(target=_tell, args=(task, arguments), name=f"wake {task.name}", daemon=True).start()


def _tell(task: "Task[Any, Any]", arguments: tuple[str, ...]) -> None:
    try:
        task.apply_async(arguments, retry=False, ignore_result=True, expires=30)
    except (OperationalError, OSError) as error:
        log.warning("%s waits for its clock: %s", task.name, type(error).__name__)
    finally:
        with _telling:
            _being_told.discard((task.name, arguments))
