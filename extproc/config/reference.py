"""The language for editors and readers: a JSON Schema and the reference page, from one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import assert_never

from extproc.config.catalogue import KNOWN, Known
from extproc.config.env import ALL_PROVIDERS, VARIABLES
from extproc.config.language import ROOT
from extproc.config.shapes import (
    SIZES,
    TIMES,
    Block,
    Choice,
    Duration,
    Either,
    Field,
    FileName,
    Flag,
    ListOf,
    Number,
    SecretText,
    Shape,
    Size,
    Table,
    Text,
)

VARIABLE = r"\$\{"
"""what a string holds that stands for another value"""

_QUOTED_VARIABLE: dict[str, object] = {"type": "string", "pattern": VARIABLE}


def schema(stages: Mapping[str, Field]) -> dict[str, object]:
    """A JSON Schema (draft 2020-12) of the file. It cannot tell what refers to something else.

    `stages` are the blocks of the stages that this build has.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "sluice.yaml",
        "description": "Configuration of Sluice, an LLM egress gateway",
        **_schema(Block({**ROOT.fields, **stages})),
    }


def _schema(shape: Shape) -> dict[str, object]:
    match shape:
        case Block():
            return _block(shape)
        case Table():
            most = {} if shape.at_most is None else {"maxProperties": shape.at_most}
            return {
                "type": ["object", "null"],
                "propertyNames": {"pattern": f"^(?:{shape.pattern})$"},
                "additionalProperties": _schema(shape.value),
                **most,
            }
        case Either():
            return {"anyOf": [_schema(form) for form in shape.forms]}
        case ListOf():
            return {"type": "array", "items": _schema(shape.item), "minItems": shape.at_least}
        case SecretText():
            file: dict[str, object] = {
                "type": "object",
                "properties": {"file": {"type": "string", "minLength": 1}},
                "required": ["file"],
                "additionalProperties": False,
            }
            return {"anyOf": [{"type": "string", "minLength": 1}, file]}
        case Text():
            pattern = rf"^(?:{shape.pattern})$|{VARIABLE}" if shape.pattern else r"\S"
            return {"type": "string", "pattern": pattern}
        case FileName():
            return {"type": "string", "minLength": 1}
        case Choice():
            return {"anyOf": [{"enum": [str(value) for value in shape.values]}, _QUOTED_VARIABLE]}
        case Flag():
            return {"anyOf": [{"type": "boolean"}, _QUOTED_VARIABLE]}
        case Number():
            return {"anyOf": [_number(shape), _QUOTED_VARIABLE]}
        case Size():
            whole = {"type": "integer", "minimum": shape.low, "maximum": shape.high}
            return {"anyOf": [whole, _quantity(SIZES)]}
        case Duration():
            seconds = {"type": "number", "exclusiveMinimum": shape.above, "maximum": shape.high}
            return {"anyOf": [seconds, _quantity(TIMES)]}
        case _:
            assert_never(shape)


def _block(shape: Block) -> dict[str, object]:
    properties = {
        name: {"description": _sentence(field), **_schema(field.shape)}
        for name, field in shape.fields.items()
    }
    required = [name for name, field in shape.fields.items() if field.required]
    result: dict[str, object] = {
        "type": "object" if required or shape.one_of else ["object", "null"],
        "properties": properties,
        "additionalProperties": False,
    }
    if required:
        result["required"] = required
    if shape.one_of:
        result["oneOf"] = [{"required": [name]} for name in shape.one_of]
    return result


def _number(shape: Number) -> dict[str, object]:
    limits = {"minimum": shape.low, "maximum": shape.high, "exclusiveMinimum": shape.above}
    kind: dict[str, object] = {"type": "integer" if shape.whole else "number"}
    return kind | {name: value for name, value in limits.items() if value is not None}


def _quantity(units: dict[str, int] | dict[str, float]) -> dict[str, object]:
    names = "|".join(unit for unit in units if unit)
    return {"type": "string", "pattern": rf"^[0-9]+(\.[0-9]+)?\s*({names})?$|{VARIABLE}"}


def _sentence(field: Field) -> str:
    return f"{field.doc}. Default: {field.default}" if field.default else field.doc


_INTRODUCTION = """\
# sluice.yaml

This page is written by `make golden` from the table that the loader checks against.

One YAML file, and the environment. `sluice check FILE` prints every error with its place, or a
summary. A key that is not listed here is an error. `sluice schema` prints a JSON Schema for editors.

- **Variables.** `${NAME}` and `${NAME:-default}` work inside every value, numbers too; `$$` is a
  `$`. The default also replaces an empty value. Inside `{ }` and `[ ]`, write `"${NAME}"` with its
  quotes. An unset variable is an error; in a provider's secrets, `endpoint`, `region`, `project` or
  `headers` it makes that provider unavailable instead, and `sluice check` names it.
- **Secrets.** `${NAME}`, or `{file: path}`: the file's text without blanks around it. A secret that
  stands in the file itself works, with a warning. No message ever repeats a secret.
- **Sizes** are bytes, or `512KiB`, `32MiB`, `1GiB`, `10MB`. **Times** are seconds, or `500ms`, `30s`,
  `5m`, `2h`.
- **Paths** are relative to the folder of the file; without a file, to the current folder.
- **Models** that something serves or may use are names, prefixes that end in `*`, or `*`.
- YAML anchors and merges (`<<: *name`) work, so that repeated parts can be written once.
"""


def reference(stages: Mapping[str, Field]) -> str:
    """docs/config.md. `stages` as for `schema`."""
    keys = _tables(Block({**ROOT.fields, **stages}))
    parts = [_INTRODUCTION, "## Keys\n", *keys, _variables(), _providers()]
    return "\n".join(parts)


def _tables(root: Block) -> Iterator[str]:
    """A section for each block, outer ones first."""
    found: list[tuple[Block, list[str]]] = []
    _find_blocks(root, "", found)
    for block, places in found:
        title = ", ".join(f"`{place}`" for place in places) if places[0] else "The top level"
        rows = [
            f"| `{name}`{' (required)' * field.required} | {_value(field.shape)} | "
            f"{_code(field.default)} | {field.doc} |"
            for name, field in block.fields.items()
        ]
        head = ["| key | value | default | what it is for |", "|---|---|---|---|"]
        yield "\n".join([f"### {title}", "", *head, *rows, ""])


def _find_blocks(shape: Shape, place: str, found: list[tuple[Block, list[str]]]) -> None:
    """Adds each block once, with all places where it may stand."""
    match shape:
        case Block():
            known = next((places for block, places in found if block is shape), None)
            if known is not None:
                known.append(place)
                return
            found.append((shape, [place]))
            for name, field in shape.fields.items():
                _find_blocks(field.shape, f"{place}.{name}" if place else name, found)
        case Either():
            for form in shape.forms:
                _find_blocks(form, place, found)
        case Table():
            _find_blocks(shape.value, f"{place}.NAME", found)
        case ListOf():
            _find_blocks(shape.item, f"{place}[]", found)
        case _:
            pass


def _value(shape: Shape) -> str:
    match shape:
        case Table():
            return f"for each name {_value(shape.value)}"
        case Either():
            return ", or ".join(_value(form) for form in shape.forms)
        case ListOf(item=Block()):
            return "a list of blocks"
        case ListOf(item=ListOf(item=inner)):
            return f"a list of lists: {_value(inner)}"
        case ListOf():
            return f"a list: {_value(shape.item)}"
        case Block():
            return "a block"
        case _:
            return shape.expected


def _code(text: str) -> str:
    return f"`{text}`" if text and " " not in text else text


def _variables() -> str:
    rows = [f"| `{name}` | `{'.'.join(path)}` |" for name, path in VARIABLES.items()]
    return f"""\
## Variables of the environment

These work without being named in the file, and **override it**. An empty one counts as not set.
Lists have commas between their words.

| variable | key |
|---|---|
{chr(10).join(rows)}
| `{ALL_PROVIDERS}` | which of `providers` are used, and their order |
"""


def _names(known: Known) -> list[str]:
    """Every variable that a known provider takes."""
    others = [name for names in known.variables.values() for name in names]
    endpoint = [known.endpoint_variable] if known.endpoint_variable else []
    return [*known.key_variables, *endpoint, *others]


def _providers() -> str:
    rows = [
        f"| `{one.name}` | {' '.join(f'`{name}`' for name in one.dialects)} | {f'`{one.endpoint}`' if one.endpoint else 'to be given'} | "
        f"{', '.join(f'`{name}`' for name in _names(one))} | "
        f"{one.security_level} | {' '.join(f'`{pattern}`' for pattern in one.models)} |"
        for one in KNOWN.values()
    ]
    by_name = " and ".join(f"`{one.name}`" for one in KNOWN.values() if one.by_name_only)
    return f"""\
## Providers known by name

Without a `providers:` block, each of these whose key or endpoint is in a variable is used ({by_name}
only when `{ALL_PROVIDERS}` names them). In the block, the name alone is enough: dialects, endpoint,
key, level and models are these unless the file says otherwise. A key from these variables goes to the
provider's own endpoint (or its variable's) alone, never to an `endpoint:` that the file gives.

- `azure`: `endpoint` is the resource's, with or without `/openai`. With `api_version`, requests go by
  the paths of deployments; without it, and where the endpoint ends in `/openai/v1`, by Azure's v1
  paths. The variant is `azure`.
- `bedrock`: without a key, requests to AWS's own hosts are signed with what AWS's variables name:
  keys, a web identity, a container's or an instance's role. Claude is asked in Anthropic's own
  language for clients who speak it, all else in Converse. The variant is `bedrock`.
- `vertex`: needs `project` and `region` (`global`, `us`, `eu` or a location). Requests to Google's own
  hosts carry a token of the key file in `GOOGLE_APPLICATION_CREDENTIALS`, or of the machine's own
  account. Claude is asked in Anthropic's language, all else in Gemini's. The variant is `vertex`.
- `auth: azure` alone means the application that `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and
  `AZURE_CLIENT_SECRET` or `AZURE_FEDERATED_TOKEN_FILE` name, else the machine's managed identity.

Credentials that expire are fetched in the background, before they do. When there is none, requests to
that provider are refused with 503 and the reason. Fetches go through the provider's `proxy`, but those
from a machine's own metadata service go directly.

| name | dialect | endpoint | variables | level | serves |
|---|---|---|---|---|---|
{chr(10).join(rows)}
"""
