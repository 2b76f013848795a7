"""The sender keys at a terminal: make or bring one, list them, change over, move customers. Prints no secret."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import Customer
from signing import sender_keys
from signing.chain import ethereum
from signing.chain.answers import ChainUnavailable
from signing.chain.view import read_funds
from signing.pm.wire import checksum_address
from signing.sender_keys import LastActiveSender, UnknownSender
from signing.signer import key_files, keystore
from signing.signer.keystore import KeystoreUnusable


class Command(BaseCommand):
    help = "Creates, imports, lists and changes the keys that sign tickets; docs/keys.md tells the order of steps."

    def add_arguments(self, parser: ArgumentParser) -> None:
        steps = parser.add_subparsers(dest="step", required=True)
        create = steps.add_parser("create", help="a new random key: keystore and password file, and its row")
        create.add_argument("folder", type=Path, help="where the two files are written, readable by you alone")
        create.add_argument("--label", default="")
        bring = steps.add_parser("import", help="a key you have: 64 hexadecimal digits on stdin, or a keystore")
        bring.add_argument("folder", type=Path, help="where the two files are written, readable by you alone")
        bring.add_argument("--label", default="")
        bring.add_argument("--keystore", type=Path, help="a Web3 Secret Storage file, instead of stdin")
        bring.add_argument("--password-file", type=Path, help="the file with its password")
        register = steps.add_parser("register", help="a key that stays elsewhere, such as behind a Web3Signer")
        register.add_argument("address", type=_address)
        register.add_argument("--label", default="")
        steps.add_parser("list", help="every key, how many customers pay by it, and which takes new ones")
        rotate = steps.add_parser("rotate", help="from now on new customers pay by this key")
        rotate.add_argument("address", type=_address)
        rotate.add_argument("--unchecked", action="store_true", help="without a look at its deposit on the chain")
        retire = steps.add_parser("retire", help="no new customers for this key; it signs on for its own")
        retire.add_argument("address", type=_address)
        move = steps.add_parser("move", help="customers pay by another key; their clients must be started again")
        who = move.add_mutually_exclusive_group(required=True)
        who.add_argument("--customer", type=int, help="number of the customer")
        who.add_argument("--from", dest="origin", type=_address, help="everybody who pays by this key")
        move.add_argument("--to", type=_address, required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, "_" + options["step"])(options)
        except (KeystoreUnusable, UnknownSender, LastActiveSender) as error:
            raise CommandError(str(error)) from None

    def _create(self, options: dict[str, Any]) -> None:
        self._keep(keystore.new_secret(), options)

    def _import(self, options: dict[str, Any]) -> None:
        if options["keystore"] is None:
            self._keep(key_files.parse_secret(sys.stdin.readline(256)), options)
        elif options["password_file"] is None:
            raise CommandError("--keystore needs --password-file.")
        else:
            self._keep(keystore.decrypted(options["keystore"], options["password_file"]), options)

    def _keep(self, secret: bytes, options: dict[str, Any]) -> None:
        files = key_files.write(secret, options["folder"])
        self.stdout.write(f"keystore: {files.keystore}\npassword: {files.password}")
        self._register({**options, "address": files.address})

    def _register(self, options: dict[str, Any]) -> None:
        key = sender_keys.register(options["address"], label=options["label"])
        self.stdout.write(f"address: {_spelled(key.address)}")
        if not key.active:
            self.stdout.write(
                "It takes no customers yet: fund its deposit and reserve, give it to every signer and restart them,"
                f" then `sender_key rotate {_spelled(key.address)}`."
            )

    def _list(self, options: dict[str, Any]) -> None:
        for row in sender_keys.listed():
            standing = "new customers" if row.takes_new else "active" if row.key.active else "inactive"
            made = f"{row.key.created_at:%Y-%m-%d}"
            self.stdout.write(
                f"{_spelled(row.key.address)}  {standing:<13}  {row.customers:>6} customers  {made}  {row.key.label}"
            )

    def _rotate(self, options: dict[str, Any]) -> None:
        if not options["unchecked"]:
            _check_funds(options["address"])
        key = sender_keys.rotate_to(options["address"])
        self.stdout.write(f"New customers pay from {_spelled(key.address)}; everybody else stays with their key.")

    def _retire(self, options: dict[str, Any]) -> None:
        key = sender_keys.retire(options["address"])
        self.stdout.write(f"{_spelled(key.address)} takes no new customers. Keep its files until all were moved.")

    def _move(self, options: dict[str, Any]) -> None:
        if options["origin"]:
            moved = sender_keys.move_all(origin=options["origin"], to=options["to"])
        else:
            customer = Customer.objects.filter(pk=options["customer"]).first()
            if customer is None:
                raise CommandError(f"There is no customer {options['customer']}.")
            moved = int(sender_keys.move(customer, to=options["to"]))
        self.stdout.write(f"moved: {moved}")
        if moved:
            self.stdout.write(
                f"They pay from {_spelled(options['to'])} within a second. Sessions that run now end with the error"
                " sender_changed: their clients must be started again."
            )


def _address(text: str) -> str:
    digits = text.removeprefix("0x")
    if len(digits) != 40 or not set(digits.lower()) <= set("0123456789abcdef"):
        raise ValueError("not an address")
    return "0x" + digits.lower()


def _spelled(address: str) -> str:
    return checksum_address(bytes.fromhex(address[2:]))


def _check_funds(address: str) -> None:
    """A key that cannot pay must not get customers. Raises CommandError."""
    try:
        chain = ethereum.connect()
        try:
            funds = read_funds(chain, _spelled(address), block=chain.header("latest").number)
        finally:
            chain.close()
    except ChainUnavailable as error:
        raise CommandError(f"Its deposit cannot be read: {error} (--unchecked goes on without).") from None
    if not funds.deposit_wei or not funds.reserve_wei:
        raise CommandError(f"{_spelled(address)} has no deposit or no reserve yet: fund both first.")
    if funds.withdraw_round:
        raise CommandError(f"{_spelled(address)} is unlocking: its tickets would be refused.")
