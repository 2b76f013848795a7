"""Three keys that tickets are signed with in tests, and their addresses as the database has them."""

from signing.signer.keystore import Keystore, SigningKey
from tests.held_chain import KEY

FIRST, SECOND, THIRD = Keystore(KEY), Keystore(b"\x5e" * 32), Keystore(b"\x3d" * 32)


def text_of(key: SigningKey) -> str:
    return "0x" + key.address.hex()
