"""The clocks' doors to the chain: each reads what is new and goes on where the last one stopped."""

import logging
from functools import cache

from celery import shared_task
from django.conf import settings
from django.db import connection

from signing import lost_disputes
from signing.chain import ethereum, indexer
from signing.chain.answers import ChainUnavailable
from signing.chain.ethereum import Chain
from signing.chain.indexer import BooksAheadOfChain
from signing.chain.redemptions import UnexpectedEvents
from signing.discovery import refresh
from signing.signer import keystore
from signing.signer.keystore import Keystore, KeystoreUnusable
from signing.treasury import funding

log = logging.getLogger(__name__)


@shared_task
def index_chain() -> int:
    """The block the books reached, or 0 when nothing was new or the chain is away."""
    try:
        return indexer.index(_chain()).settled_to_block
    except ChainUnavailable as error:
        log.warning("the chain's events are read again later: %s", error.reason_code)
    except (BooksAheadOfChain, UnexpectedEvents) as error:
        log.critical("nothing is booked until somebody has looked: %s", error)
    return 0


@shared_task
def discover_orchestrators() -> int:
    """How many orchestrators said anew what they offer; 0 when none was due."""
    return refresh.refresh(_chain)


@shared_task
def flag_recipients() -> int:
    """How many lost disputes were looked at for whom their money paid."""
    return lost_disputes.look()


@shared_task
def forget_velocity() -> int:
    """How many hours of fresh money were forgotten that no cap counts any more."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT signing_forget_velocity()")
        return int(cursor.fetchone()[0])


@shared_task
def execute_treasury() -> None:
    """Only the worker of the queue `treasury` holds the key that this needs."""
    try:
        funding.execute_pending(_chain(), _treasury_key())
    except ChainUnavailable as error:
        log.warning("treasury transactions wait: %s", error.reason_code)
    except KeystoreUnusable as error:
        log.error("treasury transactions wait: %s", error)


@cache
def _chain() -> Chain:
    return ethereum.connect()


@cache
def _treasury_key() -> Keystore:
    return keystore.open_keystore(
        settings.TREASURY_KEYSTORE_FILE,
        settings.TREASURY_KEYSTORE_PASSWORD_FILE,
        expected_address=settings.TREASURY_ADDRESS,
    )
