"""Typst: a template file and plain data in, the bytes of a PDF out."""

import functools
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import typst

HERE = Path(__file__).resolve().parent


def pdf(template: str, data: dict[str, Any], *, dated: datetime) -> bytes:
    """Sets `template` with `data`, which reaches it as JSON and never as markup; `dated` is the document's date."""
    result = typst.compile(
        HERE / template,
        root=HERE,
        font_paths=_fonts(),
        format="pdf",
        sys_inputs={"data": json.dumps(data)},
        timestamp=int(dated.timestamp()),
    )
    assert isinstance(result, bytes)
    return result


@functools.cache
def _fonts() -> typst.Fonts:
    """The fonts beside the templates and those inside typst: the same on every machine."""
    return typst.Fonts(font_paths=[HERE / "fonts"], include_system_fonts=False)
