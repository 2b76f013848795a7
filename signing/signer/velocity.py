"""What a customer is told whose payment met a cap on money that is not aged yet: which cap, since when, until when."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from signing.signer.fresh_money import Caps, Lease
from signing.signer.refusals import Refused

_SECONDS_COUNTED = 25 * 3600 + 5
_WHEN_NOTHING_WAS_SENT = 3600
_OTHER_MONEY = "Money that is aged, and bank transfers, pay without these caps"


def refusal(verdict: Mapping[str, Any], *, caps: Caps, lease: Lease | None, now_seconds: int) -> Refused:
    """429 in plain words; Retry-After is when the first of what counts ceases to.

    `verdict` is the database's (signing_judge_fresh); `lease` is this process's room for the recipient.
    """
    cap, since = verdict["cap"], verdict.get("since")
    if cap == "customer":
        most, spent = verdict["most"], verdict["spent"]
        text = f"this account may spend {_dollars(most)} of money that is not aged yet in 24 hours"
    elif cap == "pair":
        most, spent = verdict["most"], verdict["spent"]
        text = f"this account may pay this recipient {_dollars(most)} of money that is not aged yet in 24 hours"
    else:
        assert lease, "without one there is no cap to speak of"
        most, spent = lease.most, lease.spent
        since = lease.since or (now_seconds // 3600 * 3600 if spent else None)
        is_new = lease.bounds.most_while_new == most < lease.bounds.most
        reason = f", as it was first paid less than {caps.season_days} days ago" if is_new else ""
        text = (
            "all accounts together may pay this recipient"
            f" {_dollars(most)} of money that is not aged yet in 24 hours{reason}"
        )
    if since is None:
        return _refused(f"{text}. {_OTHER_MONEY}", _WHEN_NOTHING_WAS_SENT)
    began = f"{datetime.fromtimestamp(since, UTC):%-d %b %Y, %H:%M} UTC"
    return _refused(
        f"{text}; {_dollars(spent)} went since {began}. {_OTHER_MONEY}", since + _SECONDS_COUNTED - now_seconds
    )


def is_between_rooms(verdict: Mapping[str, Any], lease: Lease | None) -> bool:
    """The cap itself has room for the payment; this process only has none of it at the moment."""
    return verdict["cap"] == "recipient" and (lease is None or lease.spent + verdict["needed"] <= lease.most)


def _refused(text: str, seconds: int) -> Refused:
    return Refused(429, "velocity", text, {"Retry-After": str(max(1, seconds))})


def _dollars(nano_usd: int) -> str:
    """Cut to cents."""
    return f"${nano_usd // 10**9:,}.{nano_usd % 10**9 // 10**7:02}"
