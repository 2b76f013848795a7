"""Celery and every clock: a task is a row first, these timers only find the rows that wait."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clearinghouse.settings")

app = Celery("clearinghouse")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_serializer="json",
    accept_content=["json"],
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    worker_prefetch_multiplier=1,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    task_routes={"signing.tasks.execute_treasury": {"queue": "treasury"}},
    beat_schedule={
        # A tick that finds its predecessor still waiting is dropped: `expires` keeps queues short after a pause.
        name.rsplit(".", 1)[1]: {"task": name, "schedule": seconds, "options": {"expires": seconds}}
        for name, seconds in {
            "accounts.tasks.handle_approvals": 2.0,
            "accounts.tasks.mail_about_approvals": 10.0,
            "accounts.tasks.send_notices": 10.0,
            "billing.tasks.handle_stripe_events": 5.0,
            "billing.tasks.poll_provider": 300.0,
            "billing.tasks.tie_out_provider": 600.0,
            "billing.tasks.book_bank_lines": 10.0,
            "billing.tasks.work_refunds": 5.0,
            "billing.tasks.sweep_disputes": 300.0,
            "billing.tasks.sweep_top_ups": 10.0,
            "billing.tasks.auto_recharge": 5.0,
            "billing.tasks.send_recharge_letters": 30.0,
            "billing.tasks.watch_budgets": 15.0,
            "billing.tasks.refresh_fx_rates": 300.0,
            "billing.tasks.check_fraud": 15.0,
            "billing.tasks.post_usage": 10.0,
            "billing.tasks.issue_documents": 10.0,
            "billing.tasks.tell_taxes": 30.0,
            "billing.tasks.end_grants": 10.0,
            "billing.tasks.age_grants": 60.0,
            "billing.tasks.check_tax_ids": 30.0,
            "signing.tasks.index_chain": 3.0,
            "signing.tasks.execute_treasury": 3.0,
            "signing.tasks.discover_orchestrators": 5.0,
            "signing.tasks.flag_recipients": 30.0,
            "signing.tasks.forget_velocity": 3600.0,
        }.items()
    },
)
app.autodiscover_tasks()
