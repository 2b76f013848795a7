"""What the machine says: processor time of processes, memory, load, and how fast one core signs."""

import os
import platform
import sysconfig
import time
from typing import Any

import psutil
from coincurve import PrivateKey
from coincurve._libsecp256k1 import ffi, lib

from signing.signer.keystore import Keystore
from tests.held_chain import KEY

_SIGNATURES = 8_000


def cpu_seconds(pid: int) -> float:
    """Of a process and its children, also those that ended."""
    process = psutil.Process(pid)
    total = sum(process.cpu_times()[:4])
    for child in process.children(recursive=True):
        try:
            total += sum(child.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return total


def memory_mb(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / 2**20


def load_average() -> float:
    return round(os.getloadavg()[0], 2)


def interpreter() -> dict[str, Any]:
    """Its version, and whether it was built with profile-guided optimisation, worth 5 to 10 % of a payment's time."""
    built_with = str(sysconfig.get_config_var("CONFIG_ARGS"))
    return {"python": platform.python_version(), "profile_guided": "--enable-optimizations" in built_with}


def library_signatures_per_second() -> float:
    """One core in a loop over libsecp256k1's own function; the call through cffi adds a quarter of a microsecond.

    The library bundled with coincurve hides behind a Python module that no C program can link, so the loop is
    Python's and the signing is C's. Counted in processor time: other work on the machine does not slow it down.
    """
    key, digest = PrivateKey(KEY), os.urandom(32)
    sign, context, secret = lib.secp256k1_ecdsa_sign_recoverable, key.context.ctx, key.secret
    signature = ffi.new("secp256k1_ecdsa_recoverable_signature *")
    start = time.process_time()
    for _ in range(_SIGNATURES):
        sign(context, signature, digest, secret, ffi.NULL, ffi.NULL)
    return _SIGNATURES / (time.process_time() - start)


def keystore_signatures_per_second() -> float:
    """The same core through the signer's own keystore: EIP-191 prefix, Keccak, signature, bytes."""
    keystore, message = Keystore(KEY), os.urandom(32)
    start = time.process_time()
    for _ in range(_SIGNATURES):
        keystore.sign_personal(message)
    return _SIGNATURES / (time.process_time() - start)
