"""How far the chain is in the books: a month is complete once its last block is."""

from datetime import datetime

from signing.models import ChainCursor

_BOOKED = "booked:"


def waits_since(moment: datetime) -> bool:
    """Whether the books of any sender were not brought up to a final block since then.

    A chain that is followed no more does not count: its cursors stand for good.
    """
    cursors = ChainCursor.objects.filter(name__startswith=_BOOKED)
    newest = cursors.order_by("-updated_at", "name").first()
    if newest is None:
        return False
    chain = newest.name.rpartition(":")[0]
    return cursors.filter(name__startswith=f"{chain}:", updated_at__lt=moment).exists()
