"""Signed transactions on the wire: decoding and signing of types 0 (legacy), 1 (access list) and 2 (EIP-1559)."""

from dataclasses import dataclass
from typing import Any

from coincurve import PrivateKey, PublicKey

from sandbox.chain.encoding import Encodable, MalformedRlp, keccak, rlp_decode, rlp_encode
from sandbox.chain.machine import AccessList

HALF_CURVE_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
FIELDS_BY_TYPE = {0: 9, 1: 11, 2: 12}


class MalformedTransaction(Exception):
    """The bytes are no transaction this chain understands."""


@dataclass(frozen=True, kw_only=True)
class SignedTransaction:
    """For types 0 and 1 both fee fields hold the gas price. `chain_id` is None for an unprotected legacy one."""

    type: int
    chain_id: int | None
    nonce: int
    max_priority_fee_wei: int
    max_fee_wei: int
    gas: int
    to: bytes | None
    value_wei: int
    data: bytes
    access_list: AccessList
    v: int
    r: int
    s: int
    sender: bytes
    hash: bytes
    raw: bytes

    @property
    def cost_wei(self) -> int:
        return self.gas * self.max_fee_wei + self.value_wei


def decode_transaction(raw: bytes) -> SignedTransaction:
    """Raises MalformedTransaction."""
    if not raw:
        raise MalformedTransaction("empty transaction")
    kind = 0 if raw[0] >= 0xC0 else raw[0]
    try:
        fields: list[Any] = list(rlp_decode(raw if kind == 0 else raw[1:]))
    except MalformedRlp as error:
        raise MalformedTransaction(f"rlp: {error}") from error
    if len(fields) != FIELDS_BY_TYPE.get(kind):
        raise MalformedTransaction("transaction type not supported")
    return _legacy(fields, raw) if kind == 0 else _typed(kind, fields, raw)


def sign_transaction(
    *, private_key: bytes, chain_id: int, nonce: int, max_fee_wei: int, gas: int, to: bytes | None,
    value_wei: int, data: bytes,
) -> SignedTransaction:  # fmt: skip
    """A type 2 transaction without priority fee."""
    unsigned: list[Encodable] = [chain_id, nonce, 0, max_fee_wei, gas, to or b"", value_wei, data, []]
    digest = keccak(b"\x02" + rlp_encode(unsigned))
    signature = PrivateKey(private_key).sign_recoverable(digest, hasher=None)
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    return decode_transaction(b"\x02" + rlp_encode([*unsigned, signature[64], r, s]))


def _legacy(fields: list[Any], raw: bytes) -> SignedTransaction:
    nonce, gas_price, gas, to, value, data, v, r, s = fields
    v_number = _number(v)
    chain_id = (v_number - 35) // 2 if v_number >= 35 else None
    parity = (v_number - 35) % 2 if v_number >= 35 else v_number - 27
    signed = [nonce, gas_price, gas, to, value, data]
    if chain_id is not None:
        signed += [chain_id, 0, 0]
    return SignedTransaction(
        type=0,
        chain_id=chain_id,
        nonce=_number(nonce),
        max_priority_fee_wei=_number(gas_price),
        max_fee_wei=_number(gas_price),
        gas=_number(gas),
        to=_recipient(to),
        value_wei=_number(value),
        data=bytes(data),
        access_list=(),
        v=v_number,
        r=_number(r),
        s=_number(s),
        sender=_recover(keccak(rlp_encode(signed)), parity, _number(r), _number(s)),
        hash=keccak(raw),
        raw=raw,
    )


def _typed(kind: int, fields: list[Any], raw: bytes) -> SignedTransaction:
    chain_id, nonce, *fees, gas, to, value, data, access_list, parity, r, s = fields
    digest = keccak(bytes([kind]) + rlp_encode(fields[:-3]))
    return SignedTransaction(
        type=kind,
        chain_id=_number(chain_id),
        nonce=_number(nonce),
        max_priority_fee_wei=_number(fees[0]),
        max_fee_wei=_number(fees[-1]),
        gas=_number(gas),
        to=_recipient(to),
        value_wei=_number(value),
        data=bytes(data),
        access_list=tuple((bytes(address), tuple(map(_number, slots))) for address, slots in access_list),
        v=_number(parity),
        r=_number(r),
        s=_number(s),
        sender=_recover(digest, _number(parity), _number(r), _number(s)),
        hash=keccak(raw),
        raw=raw,
    )


def _number(field: bytes) -> int:
    if field[:1] == b"\x00":
        raise MalformedTransaction("rlp: non-canonical integer (leading zero bytes)")
    return int.from_bytes(field, "big")


def _recipient(field: bytes) -> bytes | None:
    if len(field) not in (0, 20):
        raise MalformedTransaction("rlp: input string has the wrong length for an address")
    return bytes(field) or None


def _recover(digest: bytes, parity: int, r: int, s: int) -> bytes:
    if parity not in (0, 1) or s > HALF_CURVE_ORDER:
        raise MalformedTransaction("invalid transaction v, r, s values")
    try:
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity])
        public_key = PublicKey.from_signature_and_message(signature, digest, hasher=None)
    except Exception as error:
        # coincurve raises bare Exception for a point that is not on the curve.
        raise MalformedTransaction("invalid sender") from error
    return keccak(public_key.format(compressed=False)[1:])[12:]
