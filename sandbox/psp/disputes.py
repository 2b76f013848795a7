"""Disputes: a bank takes a payment back, or only asks; evidence in, a verdict out, and the money with it."""

from sandbox.psp import balance, cards, events, params, reading
from sandbox.psp.errors import JSON, ApiError, invalid, wrong_state
from sandbox.psp.world import Call, World, new_id

REASONS = {
    "credit_not_processed": "13.7",
    "duplicate": "12.6.1",
    "fraudulent": "10.4",
    "general": "13.3",
    "product_not_received": "13.1",
    "product_unacceptable": "13.3",
    "subscription_canceled": "13.2",
    "unrecognized": "10.4",
}
EVIDENCE = (
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
)
DUE_AFTER_SECONDS = 7 * 24 * 3600
OPEN = ("warning_needs_response", "warning_under_review", "needs_response", "under_review")
# What submitted evidence leads to when its text says one of these words, as at Stripe in test mode.
VERDICTS = {
    "winning_evidence": "won",
    "losing_evidence": "lost",
    "escalate_inquiry_evidence": "escalated",
}


def update(call: Call) -> JSON:
    """Evidence is kept; submitting it (the default) hands it to the bank."""
    spec: params.Spec = {
        "evidence": params.nested(dict.fromkeys(EVIDENCE, params.string(20_000))),
        "metadata": params.metadata,
        "submit": params.boolean,
    }
    given = params.read(call.params, spec)
    dispute = call.world.need("dispute", call.id)
    if dispute["status"] not in OPEN:
        raise wrong_state(f"This dispute is {dispute['status']}: evidence can no longer be given.", param="evidence")
    evidence = dispute["evidence"] | (given.get("evidence") or {})
    details = dispute["evidence_details"] | {"has_evidence": any(evidence.values())}
    changes: JSON = {
        "evidence": evidence,
        "evidence_details": details,
        "metadata": params.merge_metadata(dispute["metadata"], given.get("metadata")),
    }
    if given.get("evidence") and given.get("submit") is not False:
        details["submission_count"] += 1
        changes["status"] = dispute["status"].replace("needs_response", "under_review")
    changed = _save(call.world, dispute, changes)
    verdict = VERDICTS.get(str(evidence["uncategorized_text"]))
    if verdict and details["submission_count"] > dispute["evidence_details"]["submission_count"]:
        due = call.world.exact_now() + float(call.world.store.setting("verdict_after_seconds", 0.3))
        call.world.schedule(due=due, kind=f"dispute_{verdict}", subject=dispute["id"])
    return reading.show(call.world, changed, call.expand)


def close(call: Call) -> JSON:
    """The merchant gives in: lost, for good."""
    params.read(call.params, {})
    dispute = call.world.need("dispute", call.id)
    if dispute["status"] not in OPEN:
        raise wrong_state(f"This dispute is already closed: {dispute['status']}.")
    return reading.show(call.world, decide(call.world, dispute["id"], "lost"), call.expand)


def retrieve(call: Call) -> JSON:
    return reading.retrieve("dispute", call)


def index(call: Call) -> JSON:
    filters: dict[str, params.Reader] = {"charge": params.string(), "payment_intent": params.string()}
    return reading.page("dispute", call, url="/v1/disputes", filters=filters)


def add(
    world: World, charge: JSON, *, amount: int | None = None, reason: str = "fraudulent", inquiry: bool = False
) -> JSON:
    """A dispute takes its amount and a fee from the balance at once; an inquiry takes nothing yet."""
    now = world.now()
    code = REASONS[reason]
    dispute = {
        "id": new_id("du_"),
        "object": "dispute",
        "amount": charge["amount"] if amount is None else amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": dict.fromkeys(EVIDENCE),
        "evidence_details": {
            "due_by": now + DUE_AFTER_SECONDS,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": inquiry,
        "livemode": False,
        "metadata": {},
        "network_reason_code": code,
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "card": {
                "brand": charge["payment_method_details"]["card"]["brand"],
                "case_type": "inquiry" if inquiry else "chargeback",
                "network_reason_code": code,
            },
            "type": "card",
        },
        "reason": reason,
        "status": "warning_needs_response" if inquiry else "needs_response",
    }
    world.store.insert(dispute)
    world.store.save(charge | {"disputed": True, "_disputed": not inquiry})
    events.emit(world, "charge.dispute.created", dispute)
    return dispute if inquiry else _withdraw(world, dispute)


def decide(world: World, dispute_id: str, outcome: str) -> JSON:
    """won, lost, warning_closed (an inquiry that led to nothing) or escalated (an inquiry becomes a dispute)."""
    dispute = world.need("dispute", dispute_id)
    inquiry = dispute["status"].startswith("warning_")
    if dispute["status"] not in OPEN:
        return dispute
    if inquiry != (outcome in ("warning_closed", "escalated")):
        raise invalid(f"A dispute that is {dispute['status']} cannot become {outcome!r}.", param="outcome")
    if outcome == "escalated":
        charge = world.need("charge", dispute["charge"])
        world.store.save(charge | {"_disputed": True})
        card = dispute["payment_method_details"]["card"] | {"case_type": "chargeback"}
        changes = {
            "status": "needs_response",
            "is_charge_refundable": False,
            "payment_method_details": {"card": card, "type": "card"},
        }
        return _withdraw(world, _save(world, dispute, changes))
    closed = _save(world, dispute, {"status": outcome})
    events.emit(world, "charge.dispute.closed", closed)
    if outcome != "won":
        return closed
    fee = -cards.DISPUTE_FEE_MINOR if world.store.setting("dispute_fee_returned", False) else 0
    return _book(world, closed, "dispute_reversal", fee, "charge.dispute.funds_reinstated")


def open_by_card(world: World, charge_id: str) -> None:
    add(world, world.need("charge", charge_id))


def open_undelivered_by_card(world: World, charge_id: str) -> None:
    add(world, world.need("charge", charge_id), reason="product_not_received")


def inquire_by_card(world: World, charge_id: str) -> None:
    add(world, world.need("charge", charge_id), inquiry=True)


def open_by_knob(world: World, given: JSON) -> JSON:
    """`charge` or `payment_intent`, `amount`, `reason`, `inquiry`."""
    charge = named_charge(world, given)
    amount, reason = given.get("amount"), given.get("reason", "fraudulent")
    if reason not in REASONS:
        raise invalid(f"No such reason: {reason!r}", param="reason")
    if amount is not None and not (isinstance(amount, int) and 0 < amount <= charge["amount"]):
        raise invalid("amount must be a part of the charge, in minor units.", param="amount")
    return reading.show(
        world, add(world, charge, amount=amount, reason=str(reason), inquiry=bool(given.get("inquiry", False)))
    )


def decide_by_knob(world: World, dispute_id: str, given: JSON) -> JSON:
    outcome = given.get("outcome")
    if outcome not in ("won", "lost", "warning_closed", "escalated"):
        raise invalid(f"No such outcome: {outcome!r}", param="outcome")
    return reading.show(world, decide(world, dispute_id, str(outcome)))


def named_charge(world: World, given: JSON) -> JSON:
    """The paid charge that a knob names by its own id or by its intent's."""
    id = str(given.get("charge") or "")
    if given.get("payment_intent"):
        id = str(world.need("payment_intent", str(given["payment_intent"]))["latest_charge"])
    charge = world.need("charge", id)
    if not charge["paid"]:
        raise ApiError(f"Charge {id} was not paid.", param="charge")
    return charge


def _withdraw(world: World, dispute: JSON) -> JSON:
    fee = cards.DISPUTE_FEE_MINOR
    return _book(world, dispute, "dispute", fee, "charge.dispute.funds_withdrawn")


def _book(world: World, dispute: JSON, category: balance.Category, fee: int, event: str) -> JSON:
    transaction = balance.add(
        world,
        category=category,
        source=dispute["id"],
        amount=-dispute["amount"] if category == "dispute" else dispute["amount"],
        currency=dispute["currency"],
        fee=fee,
        fee_words="Dispute fee",
        description=f"{'Chargeback withdrawal' if category == 'dispute' else 'Chargeback reversal'} for"
        f" {dispute['charge']}",
    )
    listed = [*dispute["balance_transactions"], reading.show(world, transaction)]
    booked = world.store.save(dispute | {"balance_transactions": listed})
    events.emit(world, event, booked)
    return booked


def _save(world: World, dispute: JSON, changes: JSON) -> JSON:
    previous = {name: dispute[name] for name, value in changes.items() if dispute[name] != value}
    changed = world.store.save(dispute | changes)
    if previous:
        events.emit(world, "charge.dispute.updated", changed, previous=previous)
    return changed
