"""Many gateways pay through three signer processes over a bad line: no nonce twice, no charge twice, nothing lost."""

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from billing import check_books
from tests import builders, size
from tests.client_stage import check_charges
from tests.process_stage import World, running_world, signer_process
from tests.signer_stage import Answer

pytestmark = pytest.mark.django_db(transaction=True)
WORKERS = 32
REQUESTS = size.of(20, full=2_000)  # of each worker
SESSIONS = 8
PROCESSES = 3
CREDIT = 10**15
SECRET = "ch_live_storm000_key"
# A payment buys one to four tickets of 10^12 wei: 500 nonces are used up after some 200 payments.
PIXELS = (1, 700)
PRICE = (5 * 10**9, 1)
REFRESH_ODDS = 0.02
SECONDS_BEFORE_ASKING_AGAIN = 0.05
SECONDS_OF_A_COMMIT = 2.0  # the longest, begun before the 503


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("world")) as world:
        yield world


class KeptOpen:
    """A worker's connections, one to each signer process."""

    def __init__(self, urls: list[str]) -> None:
        self._lines = [http.client.HTTPConnection(url.removeprefix("http://"), timeout=15) for url in urls]

    def pay(self, place: int, body: bytes) -> Answer:
        line = self._lines[place]
        line.request("POST", "/generate-live-payment", body=body, headers={"Authorization": f"Bearer {SECRET}"})
        given = line.getresponse()
        return Answer(given.status, {name.lower(): value for name, value in given.getheaders()}, given.read())

    def close(self) -> None:
        for line in self._lines:
            line.close()


@dataclass
class Session:
    """What the four gateways of one session share: the newest state they were told, and the offer they pay on."""

    world: World
    number: int
    state: dict[str, Any] | None = None
    sequence: int = -1
    offer: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def request(self, pixels: int) -> dict[str, Any]:
        with self.lock:
            self.offer = self.offer or self.world.offer(price=PRICE)
            asked = {"orchestrator": self.offer, "inPixels": pixels, "ManifestID": f"s{self.number}"}
            return asked if self.state is None else {**asked, "state": self.state}

    def refresh(self, offer: str) -> None:
        with self.lock:
            if self.offer == offer:
                self.offer = self.world.offer(price=PRICE)

    def learn(self, answer: Answer) -> None:
        with self.lock:
            if answer.state["SequenceNumber"] > self.sequence:
                self.sequence, self.state = answer.state["SequenceNumber"], answer.json["state"]


@dataclass
class Tally:
    """What all the workers saw: every ticket that left a signer, answers they threw away included."""

    statuses: Counter[int] = field(default_factory=Counter)
    sold: set[tuple[bytes, int]] = field(default_factory=set)
    thrown_away: int = 0
    repeated: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, answer: Answer, *, lost: bool) -> None:
        with self.lock:
            self.statuses[answer.status] += 1
            self.thrown_away += lost
            if answer.status == 200:
                rand_hash = answer.payment.ticket_params.recipient_rand_hash
                tickets = {(rand_hash, nonce) for nonce in answer.nonces}
                self.repeated += bool(tickets & self.sold)
                assert not tickets & self.sold or tickets <= self.sold, "a payment shares some tickets with another"
                self.sold |= tickets


def work(session: Session, urls: list[str], tally: Tally, seed: int) -> None:
    """Pays as often as REQUESTS says; of the answers a third is thrown away and asked for again, elsewhere.

    Who was told 503 may have been paid, or may yet be: a refusal that follows is believed when no commit is under way.
    """
    chance, lines = random.Random(seed), KeptOpen(urls)
    for _ in range(REQUESTS):
        request = session.request(chance.randint(*PIXELS))
        body = json.dumps(request).encode()
        is_in_doubt = False
        while True:
            lost = chance.random() < 1 / 3
            answer = lines.pay(chance.randrange(len(urls)), body)
            tally.add(answer, lost=lost)
            if answer.status == 503:
                is_in_doubt = True
                time.sleep(SECONDS_BEFORE_ASKING_AGAIN)
            elif lost:
                continue
            elif is_in_doubt and answer.status != 200:
                is_in_doubt = False
                time.sleep(SECONDS_OF_A_COMMIT)
            else:
                break
        if answer.status == 480 or chance.random() < REFRESH_ODDS:
            session.refresh(request["orchestrator"])
        if answer.status == 200:
            session.learn(answer)
    lines.close()


def test_every_nonce_is_sold_once_and_charged_once_through_three_processes_and_lost_answers(world: World) -> None:
    owner = builders.customer()
    builders.api_key(owner, SECRET)
    builders.top_up(owner, CREDIT // 10**9)
    sessions, tally = [Session(world, number) for number in range(SESSIONS)], Tally()
    with ExitStack() as running:
        urls = [running.enter_context(signer_process(world))[1] for _ in range(PROCESSES)]
        for session in sessions:  # all that follows belongs to eight sessions
            session.learn(_opened(session, urls[0], tally))
        with ThreadPoolExecutor(WORKERS) as several:
            working = [
                several.submit(work, sessions[number % SESSIONS], urls, tally, number) for number in range(WORKERS)
            ]
        for done in working:
            done.result()
    print(f"{sum(tally.statuses.values())} requests {dict(tally.statuses)}, {tally.thrown_away} answers thrown away,")
    print(f"{tally.repeated} answered again, {len(tally.sold)} tickets sold, each charged once")
    assert set(tally.statuses) <= {200, 480, 482, 503}
    assert tally.statuses[200] > WORKERS * REQUESTS / 2
    assert tally.thrown_away > WORKERS * REQUESTS / 4
    assert tally.repeated > 0
    assert check_charges(owner, CREDIT) == tally.sold
    assert not any(check_books.invariants().values())


def _opened(session: Session, url: str, tally: Tally) -> Answer:
    lines = KeptOpen([url])
    answer = lines.pay(0, json.dumps(session.request(PIXELS[0])).encode())
    lines.close()
    assert answer.status == 200, answer.body
    tally.add(answer, lost=False)
    return answer
