"""Recorded answers of the network's own signer, and how to read them."""

import json
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent


def load(name: str) -> Any:
    return json.loads((_FOLDER / f"{name}.json").read_text())


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
