"""The clocks' doors to the money: each finds the rows that wait, so a lost message loses nothing."""

import logging
import uuid
from typing import Any

from celery import Task, shared_task
from kombu.exceptions import OperationalError

from billing import inbox, ledger, stripe_gateway, topups

log = logging.getLogger(__name__)


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
def sweep_top_ups() -> int:
    return topups.sweep()


@shared_task
def post_usage() -> int:
    return ledger.post_usage()


def wake(task: "Task[Any, Any]", *arguments: str) -> None:
    """Asks the worker to look now. A broker that is away costs only time: the clock asks again."""
    try:
        task.apply_async(arguments, retry=False, ignore_result=True, expires=30)
    except (OperationalError, OSError) as error:
        log.warning("%s waits for its clock: %s", task.name, type(error).__name__)
