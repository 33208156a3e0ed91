"""Documents made for a schema, judged by a real validator."""

from __future__ import annotations

import jsonschema
import pytest

from extproc.mock.schema_fill import fill

TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["name", "next", "kids"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}

SCHEMAS: list[object] = [
    True,
    {},
    {"type": "string", "minLength": 40},
    {"type": "string", "maxLength": 2},
    {"type": "string", "format": "date-time"},
    {"type": "integer", "minimum": 7, "multipleOf": 5},
    {"type": "integer", "exclusiveMaximum": -3},
    {"type": "integer", "exclusiveMinimum": 4.5},
    {"type": "number", "minimum": 0.2, "maximum": 0.3},
    {"type": "number", "exclusiveMinimum": 10},
    {"type": ["null", "string"]},
    {"enum": [None, "a"]},
    {"const": {"a": [1]}},
    {"type": "array", "minItems": 3, "items": {"type": "boolean"}},
    {"type": "array", "maxItems": 0, "items": {"type": "boolean"}},
    {"allOf": [{"properties": {"a": {"type": "integer"}}}, {"required": ["a"]}]},
    {"type": "object", "properties": {"a": {"$ref": "#/properties/b"}, "b": {"type": "null"}}},
    TREE,
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_fits(schema: object) -> None:
    jsonschema.Draft202012Validator(schema).validate(fill(schema, "some words"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "schema", [None, 5, {"type": 5}, {"$ref": "#/x"}, {"$ref": "#"}, {"anyOf": [1]}]
)
def test_never_raises(schema: object) -> None:
    fill(schema, "x")
