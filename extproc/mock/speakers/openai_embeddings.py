"""OpenAI's embeddings: vectors that depend on the text alone.

Takes the fields of a request, gives the reply's object or what is wrong.
Equal texts have equal vectors of length 1, other texts others; a token counts
as a word. Honours `dimensions` and `encoding_format`.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import struct
from collections.abc import Mapping, Sequence
from typing import cast

from extproc.mock import writer
from extproc.mock.faults import Faults
from extproc.mock.speakers.openai_rules import Wrong

_USUAL = 16
_MOST = 3072
_MOST_INPUTS = 2048


_CHATS = re.compile(r"gpt-|chatgpt-|o\d")


def refuses(model: str) -> bool:
    """Whether it is a model of OpenAI's that chats, and makes no vectors."""
    return _CHATS.match(model) is not None


def reply(fields: Mapping[str, object], model: str, faults: Faults) -> dict[str, object] | Wrong:
    """`{object, data, model, usage}`, in the inputs' order."""
    inputs = _inputs(fields.get("input"))
    if isinstance(inputs, Wrong):
        return inputs
    wanted = fields.get("dimensions", _USUAL)
    if not isinstance(wanted, int) or not 1 <= wanted <= _MOST:
        return Wrong("Invalid value for 'dimensions'.", "dimensions", "invalid_value")
    encoding = fields.get("encoding_format", "float")
    if encoding not in ("float", "base64"):
        text = f"Invalid value: {encoding!r}. Supported values are: 'float' and 'base64'."
        return Wrong(text, "encoding_format", "invalid_value")
    data: list[object] = []
    tokens = 0
    for index, one in enumerate(inputs):
        tokens += writer.count(one)
        values = vector(one, wanted)
        packed = base64.b64encode(struct.pack(f"<{wanted}f", *values)).decode()
        embedding = packed if encoding == "base64" else values
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    tokens = faults.usage[0] if faults.usage else tokens
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    made: dict[str, object] = {"object": "list", "data": data, "model": model, "usage": usage}
    if faults.no_usage:
        del made["usage"]
    return made


def vector(text: str, size: int) -> list[float]:
    """Numbers whose squares add up to 1, the same for the same text."""
    pieces = -(-size // 8)
    seed = text.encode("utf-8", "surrogatepass")
    digests = b"".join(hashlib.sha256(b"%d:" % i + seed).digest() for i in range(pieces))
    values = [number / 2**31 - 1 for number in struct.unpack(f"<{pieces * 8}I", digests)][:size]
    length = math.sqrt(sum(value * value for value in values)) or 1.0
    return [value / length for value in values]


def _inputs(value: object) -> Sequence[str] | Wrong:
    """Each input as text; token ids count as a word each."""
    items = value if isinstance(value, list) else [value]
    items = cast("list[object]", items)
    if items and all(isinstance(item, int) for item in items):
        items = [items]
    if not items or len(items) > _MOST_INPUTS:
        return Wrong("'$.input' is invalid: from 1 to 2048 inputs are expected.", "input")
    texts = [_text(item) for item in items]
    if not all(texts):
        return Wrong("'$.input' is invalid. Please check the API reference.", "input")
    return [text or "" for text in texts]


def _text(item: object) -> str | None:
    if isinstance(item, str):
        return item
    if isinstance(item, list) and all(isinstance(one, int) for one in cast("list[object]", item)):
        return " ".join(str(one) for one in cast("list[object]", item))
    return None
