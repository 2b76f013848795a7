"""Amounts as text, the way the pages, mails and documents write them; pure, in whole nano-dollars and wei."""

from dataclasses import dataclass
from fractions import Fraction

from billing.money import NANO_USD_PER_CENT, NANO_USD_PER_USD, WEI_PER_ETH

WEI_PER_GWEI = 10**9
MAX_WIN_PROB = 2**256 - 1
MINUS = "\N{MINUS SIGN}"


def _rounded(value: Fraction) -> int:
    """The nearest whole number, halves to even."""
    return round(value)


def _fixed(value: Fraction, places: int) -> str:
    """`1,284.40`: a non-negative number with so many decimals, rounded half to even."""
    whole, rest = divmod(_rounded(value * 10**places), 10**places)
    return f"{whole:,}.{rest:0{places}d}" if places else f"{whole:,}"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number in two tones: `strong` carries it, `quiet` (cents or a unit) steps back; `value` is for machines."""

    value: str
    strong: str
    quiet: str


def usd(nano_usd: int) -> Figure:
    """Dollars and cents of what a person pays or holds: `$1,284` + `.40`; cents are rounded half to even."""
    cents = _rounded(Fraction(nano_usd, NANO_USD_PER_CENT))
    whole, rest = divmod(abs(cents), 100)
    sign = MINUS if cents < 0 else ""
    return Figure(
        value=f"{'-' if cents < 0 else ''}{whole}.{rest:02d}",
        strong=f"{sign}${whole:,}",
        quiet=f".{rest:02d}",
    )


def usd_text(nano_usd: int) -> str:
    """`$1,284.40`"""
    figure = usd(nano_usd)
    return figure.strong + figure.quiet


SIGNS = {"usd": "$", "eur": "€", "gbp": "£"}


def cents_text(cents: int, currency: str = "usd") -> str:
    """`€1,284.40` from minor units; a currency without a sign of its own is named behind."""
    whole, rest = divmod(abs(cents), 100)
    sign = SIGNS.get(currency, "")
    name = "" if sign else f" {currency.upper()}"
    return f"{MINUS if cents < 0 else ''}{sign}{whole:,}.{rest:02d}{name}"


def usd_exact(nano_usd: int) -> str:
    """`-1284.403118204`: all nine decimals without signs of currency, for exports and machines."""
    whole, rest = divmod(abs(nano_usd), NANO_USD_PER_USD)
    return f"{'-' if nano_usd < 0 else ''}{whole}.{rest:09d}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """Neighbouring digits of one tone."""

    text: str
    strong: bool


def nano(nano_usd: int, *, trim: bool = False) -> tuple[Run, list[list[Run]]]:
    """An exact amount: its head (`$1,902.`) and the decimals in groups of three, each split into runs of one tone.

    Strong are the digits that carry the amount: from a cent on the dollars and cents, below it everything from
    the first digit that is not zero. `trim` drops trailing zeros but keeps two decimals.
    """
    whole, rest = divmod(abs(nano_usd), NANO_USD_PER_USD)
    digits = f"{rest:09d}"
    if trim:
        digits = digits.rstrip("0").ljust(2, "0")
    if whole or rest >= NANO_USD_PER_CENT:
        first, last = 0, 2
    else:
        first, last = len(digits) - len(digits.lstrip("0")), len(digits)
    sign = MINUS if nano_usd < 0 else ""
    head = Run(text=f"{sign}${whole:,}.", strong=bool(whole) or first == 0)
    groups: list[list[Run]] = []
    for start in range(0, len(digits), 3):
        runs: list[Run] = []
        for index, digit in enumerate(digits[start : start + 3], start):
            strong = first <= index < last
            if runs and runs[-1].strong == strong:
                runs[-1] = Run(text=runs[-1].text + digit, strong=strong)
            else:
                runs.append(Run(text=digit, strong=strong))
        groups.append(runs)
    return head, groups


def nano_text(nano_usd: int, *, trim: bool = False) -> str:
    """`$0.000036591`"""
    head, groups = nano(nano_usd, trim=trim)
    return head.text + "".join(run.text for runs in groups for run in runs)


def rate_text(nano_usd: int) -> str:
    """A price per minute: `$0.0312`; below a tenth of a cent the first two digits that count."""
    places = 4
    while places < 9 and 0 < abs(nano_usd) < 10 ** (10 - places):
        places += 1
    sign = MINUS if nano_usd < 0 else ""
    return f"{sign}${_fixed(Fraction(abs(nano_usd), NANO_USD_PER_USD), places)}"


def eth(wei: int, *, places: int = 4) -> Figure:
    """`14.8231` + `ETH`; under 0.0001 ETH `10.83` + `gwei`, and never an exponent."""
    sign = MINUS if wei < 0 else ""
    size = abs(wei)
    value = f"{'-' if wei < 0 else ''}{size // WEI_PER_ETH}.{size % WEI_PER_ETH:018d}"
    if size == 0 or size >= WEI_PER_ETH // 10_000:
        return Figure(value=value, strong=sign + _fixed(Fraction(size, WEI_PER_ETH), places), quiet="ETH")
    gwei_places = 2
    while gwei_places < 9 and size < WEI_PER_GWEI // 10 ** (gwei_places - 1):
        gwei_places += 1
    return Figure(value=value, strong=sign + _fixed(Fraction(size, WEI_PER_GWEI), gwei_places), quiet="gwei")


def eth_text(wei: int, *, places: int = 4) -> str:
    """`14.8231 ETH` or `10.83 gwei`"""
    figure = eth(wei, places=places)
    return f"{figure.strong} {figure.quiet}"


def eth_exact(wei: int) -> str:
    """All 18 decimals, for exports and hovering."""
    return eth(wei).value


def win_odds(win_prob: int) -> str:
    """`1 in 10,000,000` from a win prob, of which 2^256 - 1 is certainty."""
    if win_prob <= 0:
        return "never"
    odds = Fraction(MAX_WIN_PROB, win_prob)
    if odds <= 1:
        return "always"
    if odds < 10 and _rounded(odds * 10) % 10:
        return f"1 in {_fixed(odds, 1)}"
    return f"1 in {_rounded(odds):,}"


def win_odds_words(win_prob: int) -> str:
    """`1 in 10 million` for a sentence, three digits at most; small odds as `win_odds` writes them."""
    if win_prob <= 0 or (odds := Fraction(MAX_WIN_PROB, win_prob)) < 1_000_000:
        return win_odds(win_prob)
    for size, name in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if odds >= size:
            amount = odds / size
            places = 2 if amount < 10 else 1 if amount < 100 else 0
            text = _fixed(amount, places)
            text = text.rstrip("0").rstrip(".") if places else text
            return f"1 in {text} {name}"
    raise AssertionError("a million is the smallest size above")


def bps_text(bps: int) -> str:
    """`15 %` from 1,500 basis points; `2.5 %` from 250."""
    return f"{_fixed(Fraction(bps, 100), 2).rstrip('0').rstrip('.')}\N{NO-BREAK SPACE}%"


def short_address(address: str) -> tuple[str, str]:
    """First six and last four characters of an address or hash: `0x0eb5`, `70fC`."""
    return address[:6], address[-4:]


def whole_address(address: str) -> str:
    """An address in three groups, to be compared by eye before money moves."""
    return f"{address[:14]} {address[14:28]} {address[28:]}"
