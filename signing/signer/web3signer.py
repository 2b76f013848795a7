"""Sender keys behind a Web3Signer: a KMS or an HSM signs, and only what recovers to the sender is used.

Its REST route signs keccak256 of the bytes it is given and adds nothing, so the EIP-191 prefix is put before them here;
its JSON-RPC route would add the prefix by itself. It may sign the same message differently each time.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

from signing.pm.wire import checksum_address
from signing.signer.keystore import KeystoreUnusable, WrongSignature, address_of, checked_signature, personal
from signing.signer.refusals import Unavailable

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 0.5
_ANSWER_SECONDS = 1.0
_AT_ONCE = 32
_LONGEST_ANSWER = 1024 * 1024

type Rlp = bytes | Sequence[Rlp]


class SigningUnavailable(Unavailable):
    """The remote key did not sign, or not in time; nothing was committed."""

    def __init__(self) -> None:
        super().__init__("signing_unavailable", "the key is not available, try again")


class Web3Signer:
    """One server that speaks the API. Every call blocks; each thread keeps a connection of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._own = threading.local()
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="web3signer")

    def keys(self) -> "list[RemoteKey]":
        """A key for each public key the server lists. Raises KeystoreUnusable."""
        try:
            listed = self._ask("GET", "/api/v1/eth1/publicKeys").json()
            return [RemoteKey(self, str(name), address_of(bytes.fromhex(str(name)[2:]))) for name in listed]
        except (requests.RequestException, ValueError, TypeError):
            raise KeystoreUnusable("SENDER_WEB3SIGNER_URL does not answer with its public keys.") from None

    def sign(self, identifier: str, data: bytes) -> bytes:
        """The server's signature over keccak256(data), as it came. Raises SigningUnavailable."""
        try:
            answer = self._ask("POST", f"/api/v1/eth1/sign/{identifier}", {"data": "0x" + data.hex()})
            return bytes.fromhex(answer.text.strip().strip('"').removeprefix("0x"))
        except (requests.RequestException, ValueError) as error:
            status = error.response.status_code if isinstance(error, requests.HTTPError) else ""
            log.warning("web3signer: %s %s", type(error).__name__, status)
            raise SigningUnavailable from None

    def sign_each(self, identifier: str, many: Sequence[bytes]) -> list[bytes]:
        """Several at once, in order. Raises SigningUnavailable."""
        waiting = [self._threads.submit(self.sign, identifier, data) for data in many]
        try:
            return [each.result() for each in waiting]
        finally:
            for each in waiting:
                each.cancel()

    def _ask(self, method: str, path: str, body: Mapping[str, str] | None = None) -> requests.Response:
        try:
            return self._ask_once(method, path, body)
        except requests.ConnectionError as error:
            if isinstance(error, requests.ConnectTimeout):
                raise
            # The server ended a connection that was kept; to sign once more does no harm, one signature is used.
            return self._ask_once(method, path, body)

    def _ask_once(self, method: str, path: str, body: Mapping[str, str] | None) -> requests.Response:
        answer = self._session().request(
            method,
            self._url + path,
            json=body,
            timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS),
            allow_redirects=False,
        )
        answer.raise_for_status()
        if answer.status_code != requests.codes.ok or len(answer.content) > _LONGEST_ANSWER:
            raise requests.HTTPError(response=answer)
        return answer

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._own, "session", None)
        if session is None:
            session = self._own.session = requests.Session()
            # Proxies and passwords come from no environment.
            session.trust_env = False
        return session


class RemoteKey:
    """A sender's key that stays where it is."""

    is_local = False

    def __init__(self, server: Web3Signer, identifier: str, address: bytes) -> None:
        self._server = server
        self._identifier = identifier
        self.address = address
        self.checksum_address = checksum_address(address)

    def __repr__(self) -> str:
        return f"RemoteKey({self.checksum_address})"

    def sign_personal(self, message: bytes) -> bytes:
        """The EIP-191 signature, 65 bytes, perhaps another one each time. Raises SigningUnavailable."""
        data = personal(message)
        return self._checked(self._server.sign(self._identifier, data), data)

    def sign_all(self, messages: Sequence[bytes]) -> list[bytes]:
        """The signature of each message, asked for at once. Raises SigningUnavailable."""
        if len(messages) == 1:
            return [self.sign_personal(messages[0])]
        many = [personal(message) for message in messages]
        signatures = self._server.sign_each(self._identifier, many)
        return [self._checked(signature, data) for signature, data in zip(signatures, many, strict=True)]

    def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """The raw bytes of a signed transaction of type 2 (EIP-1559) without access list.

        Raises SigningUnavailable, and ValueError for any other transaction.
        """
        if transaction["type"] != 2 or transaction.get("accessList"):
            raise ValueError("only transactions of type 2 without access list are signed")
        fields: list[Rlp] = [
            _integer(transaction["chainId"]),
            _integer(transaction["nonce"]),
            _integer(transaction["maxPriorityFeePerGas"]),
            _integer(transaction["maxFeePerGas"]),
            _integer(transaction["gas"]),
            _bytes(transaction["to"]),
            _integer(transaction["value"]),
            _bytes(transaction["data"]),
            [],
        ]
        data = b"\x02" + _rlp(fields)
        signature = self._checked(self._server.sign(self._identifier, data), data)
        r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:64])
        return b"\x02" + _rlp([*fields, _integer(signature[64] - 27), _integer(r), _integer(s)])

    def _checked(self, signature: bytes, data: bytes) -> bytes:
        try:
            return checked_signature(signature, of=data, by=self.address)
        except WrongSignature:
            log.error("web3signer: a signature for %s is not that key's", self.checksum_address)
            raise SigningUnavailable from None


def _integer(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8)


def _bytes(value: str | bytes) -> bytes:
    return bytes.fromhex(value.removeprefix("0x")) if isinstance(value, str) else bytes(value)


def _rlp(item: Rlp) -> bytes:
    """Recursive Length Prefix, as the Ethereum yellow paper's appendix B has it."""
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < 0x80:
            return item
        return _prefixed(0x80, item)
    return _prefixed(0xC0, b"".join(_rlp(each) for each in item))


def _prefixed(offset: int, payload: bytes) -> bytes:
    if len(payload) < 56:
        return bytes((offset + len(payload),)) + payload
    length = _integer(len(payload))
    return bytes((offset + 55 + len(length),)) + length + payload
