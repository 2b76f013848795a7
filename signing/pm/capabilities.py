"""A client's capabilities: which kinds of work and which models a payment is for."""

from collections.abc import Iterable
from typing import NamedTuple

from google.protobuf.message import DecodeError

from signing.pm import livepeer_pb2
from signing.pm.orchestrator_info import INVALID_PROTOBUF
from signing.pm.request_json import BadRequest

_MOST_WORDS = 16
_MOST_MODELS = 64
# The answer gives them back and is kept with its session. Gateways name one model or a few: about a hundred bytes.
_LONGEST_NORMALISED = 4 * 1024


class Read(NamedTuple):
    """What the network passes on, and the sorted (capability number, model) pairs the work is bound to."""

    normalised: bytes
    models: tuple[tuple[int, str], ...]


def read_capabilities(raw: bytes) -> Read:
    """Raises BadRequest for what cannot be understood, more than 64 models, and more than an answer gives back."""
    given = _parse(raw)
    constraints = given.constraints.per_capability
    models = sorted((capability, model) for capability in constraints for model in constraints[capability].models)
    normalised = _normalise(given)
    if len(normalised) > _LONGEST_NORMALISED:
        raise BadRequest(f"capabilities take more than {_LONGEST_NORMALISED} bytes", "capabilities_too_long")
    return Read(normalised, tuple(models))


def _normalise(given: livepeer_pb2.Capabilities) -> bytes:
    """Constraints always present, capacity in use dropped; absent capacities rebuilt as one for each set bit."""
    kept = livepeer_pb2.Capabilities(bitstring=given.bitstring, mandatories=given.mandatories, version=given.version)
    kept.constraints.min_version = given.constraints.min_version
    for capability, constraints in given.constraints.per_capability.items():
        models = kept.constraints.per_capability[capability].models
        for name, model in constraints.models.items():
            models[name].warm = model.warm
            models[name].capacity = model.capacity
            models[name].runner_version = model.runner_version
    if given.capacities:
        kept.capacities.update(given.capacities)
    else:
        kept.capacities.update(dict.fromkeys(_set_bits(given.bitstring), 1))
    return kept.SerializeToString(deterministic=True)


def _parse(raw: bytes) -> livepeer_pb2.Capabilities:
    try:
        message = livepeer_pb2.Capabilities.FromString(raw)
    except DecodeError as error:
        raise BadRequest(INVALID_PROTOBUF, "invalid_capabilities") from error
    if len(message.bitstring) > _MOST_WORDS:
        raise BadRequest(f"capabilities name more than {_MOST_WORDS * 64} kinds of work", "invalid_capabilities")
    named = message.constraints.per_capability
    if len(named) > _MOST_MODELS or sum(len(named[capability].models) for capability in named) > _MOST_MODELS:
        raise BadRequest(f"capabilities name more than {_MOST_MODELS} models", "too_many_models")
    return message


def _set_bits(words: Iterable[int]) -> list[int]:
    return [64 * at + bit for at, word in enumerate(words) for bit in range(64) if word >> bit & 1]
