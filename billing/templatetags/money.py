"""Filters that show nano-dollars and wei the way the design asks for; built into every template."""

from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts.templatetags.page import EMPTY
from accounts.templatetags.page import copy as copy_button
from billing import display
from billing.markups import markup_bps
from billing.money import NANO_USD_PER_CENT, price_nano_usd, value_nano_usd

register = template.Library()


@register.filter
def usd(nano_usd: int | None) -> SafeString | str:
    """`{{ wallet.available_nano_usd|usd }}`: $1,284.40 with quiet cents. For what a person pays or holds."""
    if nano_usd is None:
        return EMPTY
    figure = display.usd(nano_usd)
    return format_html('<data class="usd" value="{}">{}<i>{}</i></data>', figure.value, figure.strong, figure.quiet)


@register.filter
def usd_text(nano_usd: int | None) -> str:
    """$1,284.40 without markup, for attributes, titles and mails."""
    return EMPTY if nano_usd is None else display.usd_text(nano_usd)


@register.filter
def cents(amount_cents: int | None) -> SafeString | str:
    """The same from whole cents: `{{ top_up.amount_cents|cents }}`."""
    return usd(None if amount_cents is None else amount_cents * NANO_USD_PER_CENT)


@register.filter
def cents_text(amount_cents: int | None) -> str:
    """$500.00 from whole cents, without markup."""
    return usd_text(None if amount_cents is None else amount_cents * NANO_USD_PER_CENT)


@register.filter
def charged(top_up: Any) -> str:
    """€59.50: what the provider was asked for, in the currency of the top-up."""
    return display.cents_text(top_up.total_cents or top_up.amount_cents, top_up.currency)


@register.filter
def cents_of(amount_cents: int | None, currency: str) -> str:
    """`{{ payout.amount_cents|cents_of:payout.currency }}`: €500.00 from minor units of any currency."""
    return EMPTY if amount_cents is None else display.cents_text(amount_cents, currency)


def _nano(nano_usd: int, *, trim: bool) -> SafeString:
    head, groups = display.nano(nano_usd, trim=trim)

    def tone(run: display.Run) -> SafeString:
        return format_html("<b>{}</b>", run.text) if run.strong else format_html("{}", run.text)

    shown = [format_html_join("", "{}", ((tone(run),) for run in runs)) for runs in groups]
    tail = format_html_join("", "<span>{}</span>", ((group,) for group in shown[1:]))
    return format_html(
        '<data class="nano" value="{}">{}{}{}</data>', display.usd_exact(nano_usd), tone(head), shown[0], tail
    )


@register.filter
def nano(nano_usd: int | None) -> SafeString | str:
    """`{{ usage.charge_nano_usd|nano }}`: all nine decimals with quiet zeros; lines up in columns."""
    return EMPTY if nano_usd is None else _nano(nano_usd, trim=False)


@register.filter
def nano_trim(nano_usd: int | None) -> SafeString | str:
    """The same without trailing zeros, for a sentence."""
    return EMPTY if nano_usd is None else _nano(nano_usd, trim=True)


@register.filter
def nano_text(nano_usd: int | None) -> str:
    """$0.000036591 without markup."""
    return EMPTY if nano_usd is None else display.nano_text(nano_usd, trim=True)


@register.filter
def amount(nano_usd: int | None) -> SafeString | str:
    """Dollars and cents from a cent on, otherwise exact: for sums that may still be tiny, such as today's spend."""
    if nano_usd is None or nano_usd == 0 or abs(nano_usd) >= NANO_USD_PER_CENT:
        return usd(nano_usd)
    return _nano(nano_usd, trim=True)


@register.filter
def rate(nano_usd: int | None) -> SafeString | str:
    """$0.0312, a price per minute: four decimals."""
    if nano_usd is None:
        return EMPTY
    return format_html(
        '<data class="usd" value="{}">{}</data>', display.usd_exact(nano_usd), display.rate_text(nano_usd)
    )


@register.filter
def eth(wei: int | None, places: int = 4) -> SafeString | str:
    """`{{ deposit_wei|eth }}`: 14.8231 ETH, or gwei when small; `|eth:2` for two decimals."""
    if wei is None:
        return EMPTY
    figure = display.eth(wei, places=places)
    return format_html(
        '<data class="eth" value="{}" title="{} ETH">{} <i>{}</i></data>',
        figure.value,
        figure.value,
        figure.strong,
        figure.quiet,
    )


@register.filter
def eth_text(wei: int | None) -> str:
    """14.8231 ETH without markup."""
    return EMPTY if wei is None else display.eth_text(wei)


@register.filter
def win_odds(win_prob: int | None) -> str:
    """1 in 10,000,000 from a win prob."""
    return EMPTY if win_prob is None else display.win_odds(win_prob)


@register.filter
def win_odds_words(win_prob: int | None) -> str:
    """1 in 10 million, for a sentence."""
    return EMPTY if win_prob is None else display.win_odds_words(win_prob)


@register.filter
def bps(basis_points: int | None) -> str:
    """15 % from 1500."""
    return EMPTY if basis_points is None else display.bps_text(basis_points)


@register.filter
def short_address(address: str | None) -> SafeString | str:
    """0x0eb5…70fC with the whole value on hover; `{% address value %}` adds a copy button."""
    if not address:
        return EMPTY
    first, last = display.short_address(address)
    return format_html('<code class="addr" title="{}">{}<i>…</i>{}</code>', address, first, last)


@register.filter
def whole_address(address: str) -> SafeString:
    """The whole address in three groups, for `.whole` before money moves."""
    return format_html("<code>{}</code>", display.whole_address(address))


@register.simple_tag
def address(value: str | None, what: str = "address") -> SafeString | str:
    """`{% address redemption.tx_hash "transaction hash" %}`: shortened, with a copy button."""
    if not value:
        return EMPTY
    return format_html('<span class="nw">{}{}</span>', short_address(value), copy_button(value, what))


@register.inclusion_tag("parts/example_charge.html")
def example_charge() -> dict[str, Any]:
    """One payment worked out at today's markup: 3 tickets of 0.0361 ETH at 1 in 10 million and $3,128.44."""
    face_value_wei, odds, tickets, rate = 36_100_000_000_000_000, 10_000_000, 3, 3_128_440_000_000
    expected_wei = face_value_wei * tickets // odds
    expected = value_nano_usd(expected_wei, nano_usd_per_eth=rate)
    bps = markup_bps(None, at=timezone.now())
    charge = price_nano_usd(expected_wei, nano_usd_per_eth=rate, markup_bps=bps)
    return {
        "face_value_wei": face_value_wei,
        "odds": odds,
        "tickets": tickets,
        "rate": rate,
        "markup_bps": bps,
        "expected": expected,
        "fee": charge - expected,
        "charge": charge,
    }
