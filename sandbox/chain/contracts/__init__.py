"""The sandbox contracts as committed: source (Vyper), ABI and creation bytecode, read without a compiler."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from eth_abi.abi import decode, encode

from sandbox.chain.encoding import keccak

FOLDER = Path(__file__).parent
NAMES = (
    "Controller",
    "Minter",
    "RoundsManager",
    "BondingManager",
    "TicketBroker",
    "ServiceRegistry",
    "PriceFeed",
)


@dataclass(frozen=True, kw_only=True)
class Contract:
    """`abi` is the list of entries that web3 and others take."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes

    def creation(self, *arguments: Any) -> bytes:
        """Bytecode with encoded constructor arguments."""
        types = [_types(entry["inputs"]) for entry in self.abi if entry["type"] == "constructor"]
        return self.bytecode + encode(types[0] if types else [], arguments)

    def call(self, function: str, *arguments: Any) -> bytes:
        """Calldata: selector and encoded arguments."""
        entry = self._function(function)
        types = _types(entry["inputs"])
        return keccak(f"{function}({','.join(types)})".encode())[:4] + encode(types, arguments)

    def result(self, function: str, output: bytes) -> tuple[Any, ...]:
        """The decoded return values of a call."""
        return decode(_types(self._function(function)["outputs"]), output)

    def _function(self, name: str) -> dict[str, Any]:
        return next(entry for entry in self.abi if entry["type"] == "function" and entry["name"] == name)


@cache
def contract(name: str) -> Contract:
    artifact = json.loads((FOLDER / f"{name}.json").read_text())
    return Contract(name=name, abi=artifact["abi"], bytecode=bytes.fromhex(artifact["bytecode"][2:]))


def _types(inputs: list[dict[str, Any]]) -> list[str]:
    return [_type(item) for item in inputs]


def _type(item: dict[str, Any]) -> str:
    kind: str = item["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_types(item['components']))}){kind.removeprefix('tuple')}"
