"""Starts the signer: python -m signing.signer."""

import logging.config
import os
import signal
import sys
from typing import NoReturn

from django.conf import settings

from signing.chain.answers import ChainUnavailable
from signing.chain.watch import ChainWatch
from signing.signer import server
from signing.signer.application import build
from signing.signer.keyring import open_keys
from signing.signer.keystore import KeystoreUnusable
from signing.signer.web3signer import SigningUnavailable


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clearinghouse.settings")
    try:
        logging.config.dictConfig(settings.LOGGING)
    except Exception as error:
        # A setting that cannot be used says so in one sentence.
        sys.exit(str(error))
    try:
        serve()
    except (KeystoreUnusable, ChainUnavailable, SigningUnavailable) as error:
        sys.exit(str(error))


def serve() -> None:
    """Runs until SIGTERM or SIGINT, and answers what is queued.

    Raises KeystoreUnusable, SigningUnavailable, ChainUnavailable.
    """
    keystore, *more_keys = open_keys(
        settings.SENDER_KEYSTORE_FILES,
        settings.SENDER_KEYSTORE_PASSWORD_FILES,
        web3signer_url=settings.SENDER_WEB3SIGNER_URL,
        expected_address=settings.SENDER_ADDRESS,
    )
    watch = ChainWatch.from_settings(
        sender=keystore.checksum_address, other_senders=[key.checksum_address for key in more_keys]
    )
    # The server finishes its requests on SIGTERM, then raises the signal again to whoever listened before it.
    signal.signal(signal.SIGTERM, _end)
    watch.start()
    try:
        server.run(
            build(keystore=keystore, more_keys=more_keys, chain=watch),
            host=settings.SIGNER_HOST,
            port=settings.SIGNER_PORT,
        )
    finally:
        watch.stop()


def _end(*_: object) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    main()
