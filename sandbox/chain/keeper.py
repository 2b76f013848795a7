"""The keeper: initialises each round a moment after it began and keeps the price feed's time fresh."""

from typing import Any

from eth_utils.address import to_canonical_address

from sandbox.chain.accounts import dev_account
from sandbox.chain.contracts import contract
from sandbox.chain.deployment import Deployment
from sandbox.chain.machine import Call
from sandbox.chain.node import CALL_GAS_LIMIT, Chain


class Keeper:
    """`attend` after every block. Without a duty there are rounds nobody initialises, or stale prices."""

    def __init__(self, chain: Chain, deployment: Deployment, *, feed_refresh_seconds: int) -> None:
        self.chain = chain
        self.feed_refresh_seconds = feed_refresh_seconds
        self.switches: dict[str, bool] = {"rounds": True, "feed": True} | (chain.store.meta("keeper") or {})
        self._addresses = {
            "Controller": to_canonical_address(deployment.controller_address),
            "RoundsManager": to_canonical_address(deployment.rounds_manager_address),
            "PriceFeed": to_canonical_address(deployment.eth_usd_feed_address),
        }

    def switch(self, **duties: bool) -> None:
        self.switches |= duties
        self.chain.store.set_meta("keeper", self.switches)

    def attend(self) -> None:
        if self.switches["rounds"] and self._round_is_due():
            self._send("RoundsManager", "initializeRound")
        if self.switches["feed"] and self._feed_is_due():
            self._send("PriceFeed", "sandboxRefresh")

    def _round_is_due(self) -> bool:
        if self._read("RoundsManager", "currentRoundInitialized") or self._read("Controller", "paused"):
            return False
        return not self._already_sent("RoundsManager")

    def _feed_is_due(self) -> bool:
        updated_at: int = self._read("PriceFeed", "latestRoundData", output=3)
        age = self.chain.head.timestamp_seconds - updated_at
        return age >= self.feed_refresh_seconds and not self._already_sent("PriceFeed")

    def _already_sent(self, name: str) -> bool:
        keeper = dev_account("keeper").address
        return any(item.sender == keeper and item.to == self._addresses[name] for item in self.chain.pool)

    def _send(self, name: str, function: str) -> None:
        data = contract(name).call(function)
        self.chain.submit_as(dev_account("keeper"), to=self._addresses[name], data=data, gas=500_000)

    def _read(self, name: str, function: str, output: int = 0) -> Any:
        call = Call(
            sender=bytes(20),
            to=self._addresses[name],
            data=contract(name).call(function),
            value_wei=0,
            gas=CALL_GAS_LIMIT,
            gas_price_wei=0,
        )
        return contract(name).result(function, self.chain.call(call, self.chain.head).output)[output]
