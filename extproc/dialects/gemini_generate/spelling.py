"""Names of members as proto JSON has them: `function_call` and `functionCall` are one.

Clients send either; the rest of this dialect knows the second only. What users
name themselves (arguments, schemas, labels) keeps its spelling.
"""

from __future__ import annotations

import re

from extproc.model.chat import Json
from extproc.model.errors import InvalidRequest

# Only how such a name ends: underscores are rarer than quotes, so this is found sooner.
_SNAKE = re.compile(rb'_[a-z0-9]++"\s*+:')
_UNDERSCORE = re.compile(r"(?<=[a-z0-9])_([a-z0-9])")
_THEIRS = frozenset(
    {
        "args",
        "customMetadata",
        "labels",
        "parameters",
        "parametersJsonSchema",
        "partMetadata",
        "response",
        "responseJsonSchema",
        "responseSchema",
    }
)
"""below these, names are the user's own"""


def camel(x: dict[str, Json], body: bytes) -> dict[str, Json]:
    """`x`, read from `body`, with every name in camel case. Raises `InvalidRequest` for a name said twice."""
    return _object(x) if b"_" in body and _SNAKE.search(body) else x


def _object(x: dict[str, Json]) -> dict[str, Json]:
    out: dict[str, Json] = {}
    for name, value in x.items():
        known = _UNDERSCORE.sub(_upper, name) if "_" in name else name
        if known in out:
            message = f"the body has {known!r} twice in one object"
            raise InvalidRequest(message, param=known, code="invalid_json")
        out[known] = value if known in _THEIRS else _value(value)
    return out


def _value(value: Json) -> Json:
    if isinstance(value, dict):
        return _object(value)
    if isinstance(value, list):
        return [_value(item) for item in value]
    return value


def _upper(found: re.Match[str]) -> str:
    return found[1].upper()
