"""One customer's trouble in the database holds up and spoils nobody else's payment."""

import threading
import time
from fractions import Fraction
from typing import Any

import pytest

from signing.pm.ceilings import SenderFunds
from tests.held_chain import HeldChain
from tests.held_line import database_line
from tests.repeats_stage import opening
from tests.signer_stage import Answer, Stage, offer, rows, running_signer

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_locked_wallet_delays_its_own_customer_only(stage: Stage) -> None:
    slow, slow_owner = stage.gateway()
    quick, quick_owner = stage.gateway()
    with database_line() as line:
        line.execute("SELECT 1 FROM billing_wallet WHERE customer_id = %s FOR UPDATE", [slow_owner.pk])
        answers: list[Answer] = []
        # Several of them: a lock that one of them did not get is not waited for by the next.
        waiting = threading.Thread(target=lambda: answers.extend(slow.pay_all([opening() for _ in range(8)])))
        started = time.monotonic()
        waiting.start()
        time.sleep(0.05)
        others = quick.pay_all([opening() for _ in range(4)])
        waiting.join()
        assert time.monotonic() - started < 2
    assert [answer.status for answer in others] == [200] * 4
    assert {(answer.status, answer.headers["retry-after"]) for answer in answers} == {(503, "1")}
    assert (len(rows(quick_owner)), len(rows(slow_owner))) == (4, 0)
    assert slow.pay(**opening()).status == 200


def test_one_payment_the_database_cannot_take_spoils_no_other() -> None:
    limits: dict[str, Any] = {"MAX_TICKET_EV_WEI": Fraction(10**50), "MAX_TOTAL_EV_WEI": Fraction(10**50)}
    limits |= {"MAX_FACE_VALUE_WEI": 10**40}
    chain = HeldChain(funds=SenderFunds(deposit_wei=10**60, reserve_wei=1, withdraw_round=0))
    with running_signer(chain, **limits) as stage:
        gateway, owner = stage.gateway(dollars_nano=10**11)
        # Its price in nano-dollars fits no wallet.
        poison = opening(orchestrator=offer(price=(1, 1), face_value=10**40))
        answers = gateway.pay_all([poison, *[opening() for _ in range(7)]])
        assert [answer.status for answer in answers] == [503] + [200] * 7
        assert answers[0].code == "not_committed"
        assert len(rows(owner)) == 7
