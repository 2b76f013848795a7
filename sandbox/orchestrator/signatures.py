"""Whether an address signed a message, by the network's rules: EIP-191, 65 bytes, v of 27 or 28, low s."""

import coincurve

from signing.pm.tickets import keccak256

_HALF_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2


def signed_by(address: bytes, message: bytes, signature: bytes) -> bool:
    """True when the 20-byte `address` signed `message` as a personal message."""
    if len(signature) != 65 or signature[64] not in (27, 28):
        return False
    if int.from_bytes(signature[32:64]) > _HALF_CURVE_ORDER:
        return False
    digest = keccak256(b"\x19Ethereum Signed Message:\n%d" % len(message) + message)
    recoverable = signature[:64] + bytes([signature[64] - 27])
    try:
        public_key = coincurve.PublicKey.from_signature_and_message(recoverable, digest, hasher=None)
    except ValueError:
        return False
    return bool(keccak256(public_key.format(compressed=False)[1:])[12:] == address)


def checksum(address: bytes) -> str:
    """The mixed-case text of a 20-byte address (EIP-55)."""
    text = address.hex()
    marks = keccak256(text.encode()).hex()
    letters = (letter.upper() if int(mark, 16) > 7 else letter for letter, mark in zip(text, marks, strict=False))
    return "0x" + "".join(letters)
