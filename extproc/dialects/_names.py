"""Model names that stand in a path: taken out once, checked, and put in again.

A client's name must never become another path at a provider: no dot segments,
no second decoding, no query.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from extproc.model.errors import InvalidRequest

_LONGEST = 256
_NAME = re.compile(r"[A-Za-z0-9][\w.:@+-]*(?:/[A-Za-z0-9][\w.:@+-]*)*", re.ASCII)
_BEDROCK_ARN = re.compile(
    r"arn:aws[\w-]*:(?:bedrock|sagemaker):[a-z0-9-]*:\d{0,12}:[\w-]+/[\w.:/-]+", re.ASCII
)


def read(text: str) -> str:
    """The model named by a piece of a path, decoded once. Raises `InvalidRequest`."""
    name = unquote(text)
    fits = len(name) <= _LONGEST and ".." not in name
    if fits and (_NAME.fullmatch(name) or _BEDROCK_ARN.fullmatch(name)):
        return name
    raise InvalidRequest(
        "The model's name in the path has characters that no model has.",
        param="model",
        code="invalid_model_name",
    )


def write(model: str, *, safe: str = "") -> str:
    """The name as one segment of a path. `safe` are characters that stay as they are."""
    return quote(model, safe=f"{safe}-._~")
