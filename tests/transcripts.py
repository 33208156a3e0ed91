"""Recorded exchanges with real providers, read where they lie and never copied.

`SLUICE_TRANSCRIPTS` names the folder; without it, the one beside the checkout.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = Path(os.environ.get("SLUICE_TRANSCRIPTS", ROOT.parent / "shared" / "transcripts"))

needed = pytest.mark.skipif(
    not FOLDER.is_dir(),
    reason="runs on machines that have the recorded exchanges: SLUICE_TRANSCRIPTS names their folder",
)


def exchanges(name: str, api: str | None = None) -> Iterator[dict[str, Any]]:
    """The exchanges of one file, or those of them that are of one wire language."""
    path = FOLDER / name
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                exchange = json.loads(line)
                if api is None or exchange["api"] == api:
                    yield exchange


def body_of(exchange: dict[str, Any]) -> bytes:
    """The reply's body as it was on the wire."""
    text: str = exchange["response"]
    if exchange.get("response_encoding") == "base64":
        return base64.b64decode(text)
    return text.encode()


def by_id(exchange: dict[str, Any]) -> str:
    return exchange["id"]
