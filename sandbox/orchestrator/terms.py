"""What this orchestrator asks for its work: prices, ticket sizes and the clocks of a session."""

import argparse
from dataclasses import dataclass, fields
from fractions import Fraction

ETHER_WEI = 10**18
PIXELS_PER_SECOND = 1280 * 720 * 30  # one second of the live-video-to-video billing frame

# The arithmetic behind the defaults, at ETH = $3000:
#   $0.50 an hour = 0.5 / 3000 ETH / 3600 s                       = 4.63e10 wei a second (live)
#   the same for pixels: 4.63e10 / 27,648,000 px/s                = 1,675 wei a pixel    (lv2v, transcoding)
#   one request of the fixed app = one ticket = 1e12 wei          = $0.003
#   a ticket of 1e12 wei is $0.003, so a $0.50 session sends one about every 21.6 s
#   opening payment of lv2v: 60 s * 27,648,000 px/s * 1,675 wei   = 2.78e12 wei = 3 tickets
#   opening payment of live: 10 s * 4.63e10 wei                   = 4.63e11 wei = 1 ticket
#   face value 8e12 wei: 1e12 / 8e12 = 1 ticket in 8 wins; four sessions send about 15 tickets in their first
#     minute, so the first win (and redemption) is there within a minute in 6 of 7 starts
#   a 2 s segment of transcoding: 2 * 27,648,000 px * 1,675 wei   = 9.26e10 wei; its tickets are 5e10 wei, so
#     each segment costs one or two; face value min(100 * 5e10, 8e12) = 5e12: 1 in 100 wins


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Prices in wei per unit (second, pixel, request), ticket sizes in wei, times in seconds."""

    live_price_wei: int = 46_300_000_000
    pixel_price_wei: int = 1_675
    job_price_wei: int = 10**12
    ticket_ev_wei: int = 10**12
    transcode_ticket_ev_wei: int = 5 * 10**10
    max_face_value_wei: int = 8 * 10**12  # 0 means no cap: 100 times the expected value
    expiry_blocks: int = 40
    auth_token_seconds: int = 30 * 60
    debit_seconds: int = 5
    redeem_delay_seconds: int = 4
    redeem_batch: int = 20  # winners redeemed in one transaction at most; 1 means never in a batch


@dataclass(frozen=True, kw_only=True)
class Price:
    """A price as it travels: whole wei for a whole number of units."""

    per_unit_wei: int
    units: int = 1

    @property
    def ratio(self) -> Fraction:
        return Fraction(self.per_unit_wei, self.units)


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What one session buys. `unit` is how runners name it in discovery; '' is transcoding, paid by pixel."""

    app: str
    unit: str
    price: Price
    ticket_ev_wei: int

    def units_for(self, seconds: Fraction) -> Fraction:
        """Billable units of `seconds` of a metered session; fixed and transcoding are not metered by time."""
        if self.unit == "seconds":
            return seconds
        return seconds * PIXELS_PER_SECOND if self.unit == "720p-pixel-seconds" else Fraction(0)


LV2V_MODEL = "sandbox-restyle"
LIVE_APP = "sandbox/camera"
RESTYLE_APP = "sandbox/restyle"
CAPTION_APP = "sandbox/caption"


def offers(terms: Terms) -> dict[str, Offer]:
    """Everything on sale, by app name."""
    pixels = Price(per_unit_wei=terms.pixel_price_wei)
    ev = terms.ticket_ev_wei
    rows = [
        Offer(app=LIVE_APP, unit="seconds", price=Price(per_unit_wei=terms.live_price_wei), ticket_ev_wei=ev),
        Offer(app=RESTYLE_APP, unit="720p-pixel-seconds", price=pixels, ticket_ev_wei=ev),
        Offer(app=CAPTION_APP, unit="fixed", price=Price(per_unit_wei=terms.job_price_wei), ticket_ev_wei=ev),
        Offer(app="live-video-to-video", unit="720p-pixel-seconds", price=pixels, ticket_ev_wei=ev),
        Offer(app="transcoding", unit="", price=pixels, ticket_ev_wei=terms.transcode_ticket_ev_wei),
    ]
    return {offer.app: offer for offer in rows}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One command line knob per term, named after it."""
    for term in fields(Terms):
        parser.add_argument("--" + term.name.replace("_", "-"), type=int, default=term.default)


def from_arguments(arguments: argparse.Namespace) -> Terms:
    return Terms(**{term.name: getattr(arguments, term.name) for term in fields(Terms)})
