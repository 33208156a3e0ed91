"""A JSON document that fits a JSON Schema, for structured answers and tool arguments.

Takes the schema as parsed JSON and a text to put where a string is free. It
covers what providers accept in strict mode (types, enum, const, anyOf, allOf,
local $ref, bounds, common formats); a `pattern` is not solved. Never raises on
a schema it does not understand: it answers null there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_DEEP = 6
_TOO_DEEP = 40
_FORMATS = {
    "date": "2026-01-02",
    "date-time": "2026-01-02T03:04:05Z",
    "time": "03:04:05Z",
    "duration": "P1D",
    "email": "ada@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def fill(schema: object, text: str) -> Json:
    """A value that `schema` accepts; `text` is used for free strings."""
    return _value(schema, schema, text, 0)


def _value(schema: object, root: object, text: str, depth: int) -> Json:
    if not isinstance(schema, Mapping) or depth > _TOO_DEEP:
        return text if schema is True else None
    node = _resolve(cast("Mapping[str, object]", schema), root)
    if "const" in node:
        return cast("Json", node["const"])
    if isinstance(choices := node.get("enum"), list) and choices:
        return cast("Json", choices[0])
    for word in ("anyOf", "oneOf"):
        if isinstance(options := node.get(word), list) and options:
            rest = {key: value for key, value in node.items() if key != word}
            option = _shallowest(cast("list[object]", options), depth)
            return _value(_merge(rest, _as_node(option, root)), root, text, depth + 1)
    match _type_of(node, depth):
        case "object":
            return _object(node, root, text, depth)
        case "array":
            return _array(node, root, text, depth)
        case "string":
            return _string(node, text)
        case "integer":
            return int(_number(node, whole=True))
        case "number":
            return _number(node, whole=False)
        case "boolean":
            return True
        case _:
            return None


def _shallowest(options: Sequence[object], depth: int) -> object:
    """The first option; deep inside, one that does not descend further if there is one."""
    if depth >= _DEEP:
        for option in options:
            if isinstance(option, Mapping) and "$ref" not in option and "properties" not in option:
                return cast("object", option)
    return options[0]


def _as_node(schema: object, root: object) -> Mapping[str, object]:
    return (
        _resolve(cast("Mapping[str, object]", schema), root) if isinstance(schema, Mapping) else {}
    )


def _resolve(node: Mapping[str, object], root: object) -> Mapping[str, object]:
    """The node with its local `$ref` and `allOf` folded in."""
    for _ in range(_TOO_DEEP):
        reference = node.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            break
        target: object = root
        for step in reference[1:].strip("/").split("/"):
            if step:
                name = step.replace("~1", "/").replace("~0", "~")
                target = (
                    cast("Mapping[str, object]", target).get(name)
                    if isinstance(target, Mapping)
                    else None
                )
        rest = {key: value for key, value in node.items() if key != "$ref"}
        node = (
            _merge(cast("Mapping[str, object]", target), rest)
            if isinstance(target, Mapping)
            else rest
        )
    if isinstance(parts := node.get("allOf"), list):
        node = {key: value for key, value in node.items() if key != "allOf"}
        for part in cast("list[object]", parts):
            node = _merge(node, _as_node(part, root))
    return node


def _merge(first: Mapping[str, object], second: Mapping[str, object]) -> Mapping[str, object]:
    merged = dict(first)
    for key, value in second.items():
        known = merged.get(key)
        if key == "properties" and isinstance(known, dict) and isinstance(value, dict):
            merged[key] = {**known, **value}
        elif key == "required" and isinstance(known, list) and isinstance(value, list):
            merged[key] = [*known, *value]
        else:
            merged[key] = value
    return merged


def _type_of(node: Mapping[str, object], depth: int) -> str:
    kind = node.get("type")
    if isinstance(kind, list) and kind:
        names = cast("list[str]", kind)
        return "null" if depth >= _DEEP and "null" in names else names[0]
    if isinstance(kind, str):
        return kind
    if "properties" in node or "additionalProperties" in node:
        return "object"
    return "array" if "items" in node else "string"


def _object(node: Mapping[str, object], root: object, text: str, depth: int) -> Json:
    properties = node.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    required = node.get("required")
    needed = cast("list[str]", required) if isinstance(required, list) else []
    return {
        name: _value(schema, root, text, depth + 1)
        for name, schema in cast("Mapping[str, object]", properties).items()
        if depth < _DEEP or name in needed
    }


def _array(node: Mapping[str, object], root: object, text: str, depth: int) -> Json:
    least = _bound(node, "minItems", 0)
    most = _bound(node, "maxItems", math.inf)
    length = int(min(max(least, 0 if depth >= _DEEP else 1), most))
    return [_value(node.get("items", True), root, text, depth + 1) for _ in range(length)]


def _string(node: Mapping[str, object], text: str) -> str:
    form = node.get("format")
    if isinstance(form, str) and form in _FORMATS:
        return _FORMATS[form]
    least = int(_bound(node, "minLength", 0))
    most = _bound(node, "maxLength", math.inf)
    value = text if len(text) >= least else text.ljust(least, ".")
    return value if len(value) <= most else value[: int(most)]


def _number(node: Mapping[str, object], *, whole: bool) -> float:
    step = _bound(node, "multipleOf", 1)
    least = _bound(node, "minimum", -math.inf)
    above = _bound(node, "exclusiveMinimum", -math.inf)
    most = _bound(node, "maximum", math.inf)
    below = _bound(node, "exclusiveMaximum", math.inf)
    if whole or "multipleOf" in node:
        low = max(
            math.ceil(least / step) if least > -math.inf else -math.inf,
            math.floor(above / step) + 1 if above > -math.inf else -math.inf,
        )
        high = min(
            math.floor(most / step) if most < math.inf else math.inf,
            math.ceil(below / step) - 1 if below < math.inf else math.inf,
        )
        return min(max(1, low), high) * step
    low, high = max(least, above), min(most, below)
    if low < 1 < high:
        return 1.0
    if low > -math.inf and high < math.inf:
        return (low + high) / 2
    return low + 1 if low > -math.inf else high - 1


def _bound(node: Mapping[str, object], key: str, otherwise: float) -> float:
    value = node.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else otherwise
