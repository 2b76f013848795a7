"""The markup in force for a customer at a moment, as signers read it."""

from datetime import datetime

from django.conf import settings
from django.db.models import Q

from billing.models import Markup


def markup_bps(customer_id: int | None, *, at: datetime) -> int:
    """The customer's own markup, else the default, else the setting, in hundredths of a percent.

    None for `customer_id` is somebody without one of his own.
    """
    in_force = Markup.objects.filter(valid_from__lte=at).order_by("-valid_from", "-id")
    of_whom = [Q(customer_id=customer_id)] if customer_id is not None else []
    for whose in (*of_whom, Q(customer=None)):
        row = in_force.filter(whose).first()
        if row is not None and row.bps is not None:
            return row.bps
    return int(settings.MARKUP_BPS)
