"""Gemini's older form of a schema (a part of OpenAPI's) as JSON Schema.

Types there are in capitals and `nullable` stands beside them; numbers may be
texts. What is JSON Schema already comes out as it was.
"""

from __future__ import annotations

from extproc.model.chat import Json

_TYPES = {
    name: name.lower()
    for name in ("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL")
}
_BELOW = {"items", "additionalProperties"}
_NAMES = {"any_of": "anyOf", "defs": "$defs", "ref": "$ref"}
_MANY = {"properties", "$defs", "defs"}
_LISTS = {"anyOf", "any_of", "prefixItems"}
_COUNTS = {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
_ONLY_THERE = {"propertyOrdering", "property_ordering", "nullable"}


def json_schema(schema: Json) -> Json:
    """The JSON Schema that means the same."""
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Json] = {}
    for name, value in schema.items():
        if name in _ONLY_THERE:
            continue
        known = _NAMES.get(name, name)
        if name == "type" and isinstance(value, str):
            kind = _TYPES.get(value, value)
            if kind != "TYPE_UNSPECIFIED":
                out[known] = kind
        elif name in _BELOW:
            out[known] = json_schema(value)
        elif name in _MANY and isinstance(value, dict):
            out[known] = {key: json_schema(item) for key, item in value.items()}
        elif name in _LISTS and isinstance(value, list):
            out[known] = [json_schema(item) for item in value]
        elif name in _COUNTS and isinstance(value, str) and value.isdecimal():
            out[known] = int(value)
        else:
            out[known] = value
    return _nullable(out) if schema.get("nullable") is True else out


def _nullable(schema: dict[str, Json]) -> Json:
    kind = schema.get("type")
    if isinstance(kind, str) and kind != "null":
        return {**schema, "type": [kind, "null"]}
    options = schema.get("anyOf")
    if isinstance(options, list):
        return {**schema, "anyOf": [*options, {"type": "null"}]}
    return schema
