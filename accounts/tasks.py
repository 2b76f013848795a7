"""The clock's door to approvals: it finds what was approved, so a lost message loses nothing."""

from celery import shared_task

from accounts import approvals


@shared_task
def handle_approvals() -> int:
    """How many were carried out."""
    approvals.expire()
    return approvals.carry_out_waiting()
