"""Checks of JSON values by hand, each failure naming the place and what was found.

Takes a value and the path at which the client wrote it (`messages[3].content`);
gives the value with its type known, or raises `InvalidRequest`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from extproc.codec import jsontext
from extproc.model.chat import NO_SAMPLING, Json, Sampling
from extproc.model.errors import InvalidRequest

Settings: TypeAlias = Mapping[str, tuple[str, Callable[[Json, str], Any]]]
"""a member's name to that of the field of `Sampling`, and how its value is read"""


def read_object(body: bytes) -> dict[str, Json]:
    """The body of a request as an object. Raises `InvalidRequest`, code `invalid_json` if it is none."""
    try:
        value = jsontext.loads(body)
    except jsontext.BadJson as error:
        raise InvalidRequest(error.message, param=error.key, code="invalid_json") from None
    if not isinstance(value, dict):
        message = f"the body must be a JSON object, got {kind_of(value)}"
        raise InvalidRequest(message, code="invalid_type")
    return value


def kind_of(value: Json) -> str:
    """What a person calls it: `a string`, `null`."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case dict():
            return "an object"


def type_error(value: Json, path: str, expected: str) -> InvalidRequest:
    message = f"{path} must be {expected}, got {kind_of(value)}"
    return InvalidRequest(message, param=path, code="invalid_type")


def missing(path: str) -> InvalidRequest:
    message = f"Missing required parameter: '{path}'."
    return InvalidRequest(message, param=path, code="missing_required_parameter")


def expect_object(value: Json, path: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise type_error(value, path, "an object")
    return value


def expect_list(value: Json, path: str) -> list[Json]:
    if not isinstance(value, list):
        raise type_error(value, path, "an array")
    return value


def expect_string(value: Json, path: str) -> str:
    if not isinstance(value, str):
        raise type_error(value, path, "a string")
    return value


def optional_string(value: Json, path: str) -> str | None:
    return None if value is None else expect_string(value, path)


def optional_bool(value: Json, path: str) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise type_error(value, path, "a boolean")


def optional_int(value: Json, path: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise type_error(value, path, "an integer")
    return value


def optional_number(value: Json, path: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise type_error(value, path, "a number")
    return value


def strings(value: Json, path: str) -> tuple[str, ...]:
    return tuple(
        [expect_string(item, f"{path}[{i}]") for i, item in enumerate(expect_list(value, path))]
    )


def sampling(x: Mapping[str, Json], table: Settings, path: str = "") -> Sampling:
    """What `x` says of `table`; null says nothing.

    There are many settings, and a request has few: they are read as they are there.
    """
    found: dict[str, Any] = {}
    for name, value in x.items():
        if value is not None and name in table:
            field, reader = table[name]
            found[field] = reader(value, path + name)
    return Sampling(**found) if found else NO_SAMPLING


def count(value: Json) -> int:
    """A provider's count of tokens, also as a float; one that makes no sense is 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return max(0, int(value)) if abs(value) < 1 << 63 else 0
