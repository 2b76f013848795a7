"""The clock's doors to approvals and notices: they find the rows that wait, so a lost message loses nothing."""

from celery import shared_task

from accounts import approval_mails, approvals, notices


@shared_task
def handle_approvals() -> int:
    """How many were carried out."""
    approvals.expire()
    return approvals.carry_out_waiting()


@shared_task
def mail_about_approvals() -> int:
    """How many mails were sent."""
    return approval_mails.send_waiting()


@shared_task
def send_notices() -> int:
    """How many letters to owners were sent."""
    return notices.send_waiting()
