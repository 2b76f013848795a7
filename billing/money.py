"""Exact arithmetic of prices: wei to nano-dollars, rounded once, in the direction the name says."""

NANO_USD_PER_USD = 10**9
NANO_USD_PER_CENT = 10**7
WEI_PER_ETH = 10**18
BPS = 10_000


def price_nano_usd(wei: int, *, nano_usd_per_eth: int, markup_bps: int) -> int:
    """What `wei` cost a customer: wei * rate * (1 + markup), rounded up to whole nano-dollars.

    The SQL function billing_price_nano_usd computes the same; a test compares them on shared vectors.
    """
    numerator = wei * nano_usd_per_eth * (BPS + markup_bps)
    return -(-numerator // (WEI_PER_ETH * BPS))


def value_nano_usd(wei: int, *, nano_usd_per_eth: int) -> int:
    """What `wei` are worth in the books at a rate, rounded down to whole nano-dollars."""
    return wei * nano_usd_per_eth // WEI_PER_ETH


def share_rounded_down(total: int, *, part: int, whole: int) -> int:
    """The carrying value that leaves with `part` of `whole` units; everything when the account is emptied."""
    if part >= whole:
        return total
    return total * part // whole
