"""Embeddings between their two forms: numbers, and base64 of little-endian float32.

Takes what a provider sent or a `Vector`; gives the form that a language wants.
"""

from __future__ import annotations

import base64
import binascii
import struct
from array import array
from collections.abc import Sequence
from typing import cast

from extproc.dialects._decoding import bad
from extproc.model.chat import Json
from extproc.model.reply import Vector

_LARGEST: float = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
"""of all float32 that are finite"""


def numbers(value: Json) -> tuple[float, ...]:
    """A provider's list. Raises `UpstreamBad` for what is no number, or none that a float holds."""
    if isinstance(value, list):
        try:
            # The quickest way to know that all are numbers.
            return tuple(array("d", cast("list[float]", value)))
        except (TypeError, OverflowError):
            pass
    raise bad("the provider's reply has a vector that is not one")


def pack(one: Vector) -> str:
    """Base64 of float32, little-endian; a number too large for it becomes its largest."""
    if one.packed is not None:
        return one.packed
    try:
        data = struct.pack(f"<{len(one.values)}f", *one.values)
    except OverflowError:
        data = struct.pack(f"<{len(one.values)}f", *(_narrow(value) for value in one.values))
    return base64.b64encode(data).decode()


def unpack(one: Vector) -> Sequence[float]:
    """The numbers; of base64 that is none, nothing."""
    if one.packed is None:
        return one.values
    try:
        data = base64.b64decode(one.packed, validate=True)
    except (binascii.Error, ValueError):
        return ()
    return struct.unpack(f"<{len(data) // 4}f", data[: len(data) // 4 * 4])


def _narrow(value: float) -> float:
    return min(max(value, -_LARGEST), _LARGEST)
