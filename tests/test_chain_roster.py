"""Stories of the roster: it is of one block, or whole, or the one before; and it knows when it is too old to tell."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sandbox.chain.client import SandboxChain
from signing.chain.answers import ChainUnavailable
from signing.chain.ethereum import Chain
from signing.chain.roster import Roster, read_roster
from signing.chain.view import read_view
from tests import chain_cast
from tests.roster_stage import FIRST_IN_POOL, MUCH_STAKE, NEXT_IN_POOL, Pool, text, through, until, watching


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxChain]:
    with chain_cast.quiet_chain(tmp_path_factory.mktemp("chain")) as chain:
        yield chain


@pytest.fixture
def chain(sandbox: SandboxChain) -> Iterator[Chain]:
    connected = chain_cast.connected(sandbox)
    yield connected
    connected.close()


@pytest.fixture
def pool(sandbox: SandboxChain) -> Iterator[Pool]:
    pool = Pool(sandbox)
    yield pool
    pool.close()


def test_whoever_leaves_the_pool_is_on_the_roster_until_the_round_ends(
    sandbox: SandboxChain, chain: Chain, pool: Pool
) -> None:
    (leaver,) = pool.enrol()
    with watching(sandbox, chain) as watch:
        before = watch.view()
        pool.leave(leaver)
        until(lambda: watch.view().pool_size == before.pool_size - 1)
        read_at = watch.view().read_at_seconds
        until(lambda: watch.view().read_at_seconds > read_at + 0.6)  # it stays through some more readings
        assert leaver in watch.view().active_recipients
        assert text(leaver) in dict(before.orchestrators)
        assert text(leaver) not in dict(watch.view().orchestrators)
        sandbox.next_round()
        until(lambda: leaver not in watch.view().active_recipients)


def test_whoever_unbonds_all_stake_is_off_the_roster_at_once(sandbox: SandboxChain, chain: Chain, pool: Pool) -> None:
    """The contract still calls it active, and pays no ticket of anybody unregistered."""
    (leaver,) = pool.enrol()
    before = read_roster(chain)
    sandbox.unregister(text(leaver))
    assert sandbox.read("BondingManager", "isActiveTranscoder", text(leaver))
    assert before.active_recipients - read_roster(chain, before).active_recipients == {leaver}


def test_a_list_that_changes_during_the_walk_is_read_as_it_was(sandbox: SandboxChain, chain: Chain, pool: Pool) -> None:
    first, middle, last = pool.enrol(3)
    walked: list[int] = []

    def reorder(selector: str, parameters: list[Any]) -> str:
        """The first member leaves under the cursor, and the last one of ours moves up past it."""
        if selector == NEXT_IN_POOL:
            walked.append(1)
            if len(walked) == 1:
                pool.leave(first)
                sandbox.register(text(last), stake_wei=MUCH_STAKE + 1)
        return ""

    with through(sandbox, reorder) as meddled:
        roster = read_roster(meddled)
    assert len(walked) == roster.pool_size == len(roster.orchestrators)
    assert [address for address, _ in roster.orchestrators][:3] == [text(each) for each in (first, middle, last)]
    now = read_roster(chain, roster)
    assert [address for address, _ in now.orchestrators][:2] == [text(last), text(middle)]
    assert now.active_recipients == roster.active_recipients


def test_a_walk_that_was_cut_keeps_the_roster_before(
    sandbox: SandboxChain, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """An endpoint without the state of earlier blocks is asked for the newest, where the list may change."""
    caplog.set_level(logging.INFO, logger="signing.chain.watch")
    first, *_ = pool.enrol(3)
    is_cutting = threading.Event()

    def cut(selector: str, parameters: list[Any]) -> str:
        if selector in (FIRST_IN_POOL, NEXT_IN_POOL) and parameters[1] != "latest":
            return "missing trie node"
        if is_cutting.is_set() and selector == FIRST_IN_POOL:
            sandbox.register(text(first), stake_wei=MUCH_STAKE, active_from_round=sandbox.current_round())
        if is_cutting.is_set() and selector == NEXT_IN_POOL and first.hex() in str(parameters[0]):
            pool.leave(first)
        return ""

    with through(sandbox, cut) as meddled, watching(sandbox, meddled) as watch:
        before = watch.view()
        assert len(before.active_recipients) == before.pool_size >= 5
        is_cutting.set()
        until(lambda: "the roster of orchestrators cannot be read: roster_torn" in caplog.messages)
        now = watch.view()
        assert (now.orchestrators, now.active_recipients) == (before.orchestrators, before.active_recipients)
        is_cutting.clear()
        until(lambda: "the roster of orchestrators is being read" in caplog.messages)


def test_a_walk_that_did_not_meet_everybody_is_no_roster(sandbox: SandboxChain, chain: Chain) -> None:
    size = read_roster(chain).pool_size
    sandbox.set_pool_size(100)
    with pytest.raises(ChainUnavailable, match=f"^{size} orchestrators were met in a pool of 100$") as torn:
        read_roster(chain)
    sandbox.set_pool_size(0)
    assert torn.value.reason_code == "roster_torn"


def test_a_roster_says_whether_it_is_too_old_to_tell(sandbox: SandboxChain, chain: Chain) -> None:
    def seen(roster: Roster) -> tuple[bool, bool]:
        """Whether the view calls it old, and whether anybody is in it."""
        view = read_view(
            chain,
            sender=sandbox.accounts["sender"].address,
            feed_address=sandbox.eth_usd_feed_address,
            roster=roster,
        )
        return view.roster_is_old, bool(view.active_recipients)

    roster = read_roster(chain)
    hours_ago = replace(roster, read_at_seconds=roster.read_at_seconds - 7_200)
    assert (seen(roster), seen(hours_ago)) == ((False, True), (True, True))
    sandbox.next_round()
    assert (seen(roster), seen(hours_ago)) == ((True, True), (True, True))
    sandbox.next_round()
    assert (seen(roster), seen(hours_ago)) == ((True, True), (True, False))
    assert seen(read_roster(chain, hours_ago)) == (False, True)


def test_an_endpoint_that_refuses_the_roster_is_not_asked_for_it_again_at_once(sandbox: SandboxChain) -> None:
    asked: list[object] = []
    is_tight = threading.Event()

    def throttle(selector: str, parameters: list[Any]) -> str:
        if is_tight.is_set() and selector == FIRST_IN_POOL:
            asked.append(parameters[1])
            return "too many requests"
        return ""

    with through(sandbox, throttle) as meddled, watching(sandbox, meddled, roster_seconds=30) as watch:
        is_tight.set()
        sandbox.next_round()
        until(lambda: watch.view().roster_is_old and len(asked) == 2)
        read_at = watch.view().read_at_seconds
        until(lambda: watch.view().read_at_seconds > read_at + 1)
        assert len(asked) == 2  # at one block and at the newest, once each
        assert asked[1] == "latest"


def test_a_slow_roster_does_not_make_the_view_old(sandbox: SandboxChain) -> None:
    is_slow, is_reading, release = threading.Event(), threading.Event(), threading.Event()

    def slowly(selector: str, parameters: list[Any]) -> str:
        if is_slow.is_set() and selector == FIRST_IN_POOL:
            is_reading.set()
            assert release.wait(4)
        return ""

    with through(sandbox, slowly) as meddled, watching(sandbox, meddled) as watch:
        is_slow.set()
        sandbox.next_round()
        assert is_reading.wait(10)
        seen = watch.view().l1_block
        sandbox.mine(3)
        until(lambda: watch.view().l1_block > seen)
        release.set()
