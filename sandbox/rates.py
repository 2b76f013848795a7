"""What euros and pounds are worth in a demo: fixed, because nobody out there is asked."""

NANO_USD_PER_CENT = {"eur": 10_850_000, "gbp": 12_700_000}


def fixed(currency: str) -> int:
    return NANO_USD_PER_CENT[currency]
