"""Puts the signer together from the settings."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from django.conf import settings

from signing.pm.ceilings import TicketLimits
from signing.signer.asgi import Signer
from signing.signer.authentication import Authentication
from signing.signer.batch import Batch
from signing.signer.database import Database
from signing.signer.discovery import Introductions, Limits, Listing
from signing.signer.drafts import Terms
from signing.signer.fresh_money import Caps, FreshMoney
from signing.signer.gate import Gate
from signing.signer.gate import Rates as RequestRates
from signing.signer.house import House
from signing.signer.keystore import SigningKey
from signing.signer.payments import Chain, Payments
from signing.signer.price_rules import PriceRules
from signing.signer.rates import Rates
from signing.signer.recipients import Recipients
from signing.signer.refusal_notes import RefusalNotes
from signing.signer.senders import Senders
from signing.signer.sessions import mac_keys
from signing.signer.stops import Stops


def build(
    *,
    keystore: SigningKey,
    more_keys: Sequence[SigningKey] = (),
    chain: Chain,
    database: Mapping[str, Any] | None = None,
) -> Signer:
    """The ASGI application; its database, the settings' own unless given, is opened when the server starts it.

    Customers pay by the key they are pinned to; by `keystore` while none is registered. Raises SigningUnavailable.
    """
    connections = Database(database or settings.DATABASES["default"])
    rates = Rates(connections)
    authentication = Authentication(connections)
    keys = [keystore, *more_keys]
    senders = Senders(keys, connections)
    recipients = Recipients(connections, settings.RECIPIENT_POLICY)
    stops = Stops(connections)
    fresh_money = FreshMoney(connections, recipients, Caps(**settings.FRESH_MONEY_CAPS))
    batch = Batch(connections, fresh_money)
    notes = RefusalNotes(connections)
    price_rules = PriceRules(
        connections, max_price_per_unit=settings.MAX_PRICE_PER_UNIT, markup_bps=settings.MARKUP_BPS
    )

    def ceiling(models: Sequence[tuple[int, str]], kind: str) -> Fraction | None:
        rate = chain.view().rate.nano_usd_per_eth
        return price_rules.operator_ceiling(models, kind, now_ns=connections.now_ns(), nano_usd_per_eth=rate)

    payments = Payments(
        senders=senders,
        chain=chain,
        database=connections,
        batch=batch,
        recipients=recipients,
        rates=rates,
        stops=stops,
        fresh_money=fresh_money,
        price_rules=price_rules,
        terms=Terms(
            limits=TicketLimits(
                max_ticket_ev_wei=settings.MAX_TICKET_EV_WEI,
                max_total_ev_wei=settings.MAX_TOTAL_EV_WEI,
                deposit_multiplier=settings.DEPOSIT_MULTIPLIER,
                max_face_value_wei=settings.MAX_FACE_VALUE_WEI,
            ),
            mac_keys=mac_keys([settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]),
            any_round=settings.RECIPIENT_POLICY == "any",
        ),
        notes=notes,
    )
    return Signer(
        senders=senders,
        chain=chain,
        gate=Gate(
            authentication,
            RequestRates(
                key_requests_per_second=settings.KEY_REQUESTS_PER_SECOND,
                bad_keys_per_minute=settings.BAD_KEYS_PER_MINUTE,
            ),
            settings.TRUSTED_PROXIES,
        ),
        payments=payments,
        listing=Listing(
            connections,
            recipients,
            chain.view,
            Limits(
                ceiling=ceiling,
                max_ticket_ev_wei=settings.MAX_TICKET_EV_WEI,
                deposit_multiplier=settings.DEPOSIT_MULTIPLIER,
                max_face_value_wei=settings.MAX_FACE_VALUE_WEI,
                keep_seconds=settings.DISCOVERY_KEEP_SECONDS,
            ),
        ),
        house=House(
            database=connections,
            batch=batch,
            authentication=authentication,
            rates=rates,
            price_rules=price_rules,
            stops=stops,
            recipients=recipients,
            refusal_notes=notes,
            introductions=Introductions(connections, [senders.introduction(key) for key in keys]),
            chain=chain,
        ),
    )
