"""The keys this process signs with, and which of them a customer's payments are signed by."""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from signing.pm.wire import orchestrator_info_digest
from signing.signer.authentication import Caller
from signing.signer.database import Database
from signing.signer.keystore import SigningKey
from signing.signer.refusals import Unavailable

_PIN = "SELECT signing_pin_sender(%s, %s)"
_REMEMBERED_SECONDS = 1.0
_MOST_REMEMBERED = 20_000
_REMOTE_DRAFTS = 64


class Senders:
    """The first key serves new customers while no key is registered as active."""

    def __init__(self, keys: Sequence[SigningKey], database: Database) -> None:
        self._keys = {"0x" + key.address.hex(): key for key in keys}
        self._introductions = {key.address: _introduction(key) for key in keys}
        self._database = database
        self._pinned: OrderedDict[int, tuple[str, float]] = OrderedDict()
        self._threads = ThreadPoolExecutor(_REMOTE_DRAFTS, thread_name_prefix="remote-key")

    def known_key_of(self, caller: Caller) -> SigningKey | None:
        """The key the customer is pinned to, where that is known and the key is here."""
        return self._keys.get(caller.sender)

    async def key_of(self, caller: Caller) -> SigningKey:
        """The key the customer is pinned to; whoever asks for the first time is pinned now.

        Raises DatabaseUnavailable, and Unavailable where this process does not hold the key.
        """
        key = self._keys.get(caller.sender or await self._pin(caller.customer_id))
        if key is None:
            raise Unavailable("sender_key_missing", "the account's sender key is not at this signer, try again")
        return key

    def introduction(self, key: SigningKey) -> bytes:
        """The sender's address and its signature over it, as JSON."""
        return self._introductions[key.address]

    async def run[*A, R](self, key: SigningKey, work: Callable[[*A], R], *given: *A) -> R:
        """Work that signs: at once, or in a thread where the key may keep it waiting."""
        if key.is_local:
            return work(*given)
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*given))

    async def _pin(self, customer_id: int) -> str:
        """Remembered until the caller's own row, read again each second, tells it."""
        address, since = self._pinned.get(customer_id, ("", 0.0))
        if address and time.monotonic() - since < _REMEMBERED_SECONDS:
            return address
        asked_at = time.monotonic()
        rows = await self._database.fetch(_PIN, [customer_id, list(self._keys)])
        if rows[0][0] is None:
            raise Unavailable("no_sender_key", "no sender key takes new customers now, try again")
        self._pinned[customer_id] = (str(rows[0][0]), asked_at)
        self._pinned.move_to_end(customer_id)
        if len(self._pinned) > _MOST_REMEMBERED:
            self._pinned.popitem(last=False)
        return str(rows[0][0])


def _introduction(key: SigningKey) -> bytes:
    signature = key.sign_personal(orchestrator_info_digest(key.address))
    return json.dumps(
        {"address": key.checksum_address, "signature": "0x" + signature.hex()}, separators=(",", ":")
    ).encode()
