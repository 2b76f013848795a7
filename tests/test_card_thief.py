"""The card thief: many new accounts with card money, all paying one recipient, get no more out than the stated cap."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from fractions import Fraction
from typing import Any

import pytest

from signing.pm.tickets import MAX_UINT256
from tests import size
from tests.held_chain import HeldChain
from tests.signer_stage import Client, offer, price_of, running_signer
from tests.velocity_stage import CHAIN_OF, FIRST, Hours, card_customer, codes, seasoned, sums

pytestmark = pytest.mark.django_db(transaction=True)

DOCUMENTED: Mapping[str, int] = {
    "customer_nano_usd": 1_000 * 10**9,
    "pair_nano_usd": 250 * 10**9,
    "recipient_nano_usd": 500 * 10**9,
    "new_recipient_nano_usd": 50 * 10**9,
    "listed_nano_usd": 5_000 * 10**9,
    "flagged_nano_usd": 10**9,
    "season_days": 7,
}


def test_the_documented_caps_are_the_defaults(settings: Any) -> None:
    assert settings.FRESH_MONEY_CAPS == DOCUMENTED


@pytest.mark.parametrize(("known", "cap_usd"), [(True, 500), (False, 50)], ids=["known", "new"])
def test_new_accounts_with_200_dollars_of_card_money_each_cannot_empty_them_into_one_recipient(
    known: bool, cap_usd: int
) -> None:
    """Dear tickets, so that a day needs few of them; the clock of the caps is moved on by the hour."""
    accounts, hours, unit = size.of(10, full=50), size.of(4, full=24), price_of(10**15)
    dear = {"face_value": 10**16, "win_prob": MAX_UINT256 // 10, "price": (10**15, 1), "recipient": FIRST}
    if known:
        seasoned(FIRST)
    clock = Hours()
    with ExitStack() as running:
        chain = HeldChain(active_recipients=CHAIN_OF)
        stages = [
            running.enter_context(
                running_signer(chain, MAX_TICKET_EV_WEI=Fraction(10**16), MAX_TOTAL_EV_WEI=Fraction(10**17))
            )
            for _ in range(2)
        ]
        cast = [card_customer(stages[0], 200 * 10**9, unit=1)[0] for _ in range(accounts)]
        clients = [Client(stages[number % 2].url, client.key) for number, client in enumerate(cast)]

        def empty(client: Client) -> None:
            refused = 0
            while refused < 3:
                answer = client.pay(orchestrator=offer(**dear), type="fixed")
                if answer.status == 503 and answer.code == "busy":
                    continue  # rooms are shared anew, on a slow machine for longer than a payment waits
                assert answer.status in (200, 402) or answer.code == "velocity", answer.body
                refused = refused + 1 if answer.status != 200 else 0
                if answer.status != 200:
                    time.sleep(0.1)

        for hour in range(hours):
            if hour:
                clock.go_by(1)
            with ThreadPoolExecutor(5) as several:
                list(several.map(empty, clients))
        left = sums()
        print(
            f"\n{accounts} accounts, {hours} hours: ${left[0] / 10**9:,.2f} of ${accounts * 200:,} left, cap ${cap_usd}"
        )
        assert left[0] == left[1] == left[2] <= cap_usd * 10**9
        assert left[0] > cap_usd * 10**9 - 6 * unit
        # Who was refused everything can pay others, and aged money pays this one.
        rich, _ = stages[0].gateway(dollars_nano=10 * unit)
        assert codes([rich.pay(orchestrator=offer(**dear), type="fixed")]) == [200]
