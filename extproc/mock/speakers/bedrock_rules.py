"""What Bedrock's Converse refuses, as far as clients and gateways get it wrong.

Takes a request's fields; gives the message of the first refusal (all are
ValidationExceptions), or None. The wording is the provider's own where it is known.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias, cast

import orjson

Fields: TypeAlias = Mapping[str, object]

SIGNATURE = "bW9jay1iZWRyb2NrLXNpZ25hdHVyZQ=="
"""of everything that the mock thinks"""
_MEMBERS = frozenset(
    {
        "messages",
        "system",
        "inferenceConfig",
        "toolConfig",
        "guardrailConfig",
        "additionalModelRequestFields",
        "promptVariables",
        "additionalModelResponseFieldPaths",
        "requestMetadata",
        "performanceConfig",
        "serviceTier",
        "outputConfig",
    }
)
_BLOCKS = frozenset(
    {
        "text",
        "image",
        "document",
        "video",
        "audio",
        "toolUse",
        "toolResult",
        "guardContent",
        "cachePoint",
        "reasoningContent",
        "citationsContent",
        "searchResult",
    }
)
_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_DOCUMENT = re.compile(r"[a-zA-Z0-9()\[\]-]+(?: [a-zA-Z0-9()\[\]-]+)*")
_IMAGES = ("png", "jpeg", "gif", "webp")
_MOST_STOPS = 2500


def wrong(fields: Fields) -> str | None:
    """The first thing that Bedrock would not take."""
    for check in (_members(fields), _settings(fields), _tools(fields), _conversation(fields)):
        for found in check:
            return found
    return None


def objects(value: object) -> list[Fields]:
    """The objects of a list; nothing of anything else."""
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("Fields", item) for item in items if isinstance(item, dict)]


def inner(fields: Fields, name: str) -> Fields:
    """A member that is an object, or an empty one."""
    value = fields.get(name)
    return cast("Fields", value) if isinstance(value, dict) else {}


def thinks(fields: Fields) -> bool:
    """Whether the request asks the model to think."""
    own = inner(fields, "additionalModelRequestFields")
    kinds = (inner(own, "thinking").get("type"), inner(own, "reasoningConfig").get("type"))
    return any(kind in ("enabled", "adaptive") for kind in kinds) or any(
        name in own for name in ("reasoning_effort", "reasoning_config")
    )


def _members(fields: Fields) -> Iterator[str]:
    for name in fields:
        if name not in _MEMBERS:
            yield (
                f"Malformed input request: extraneous key [{name}] is not permitted,"
                " please reformat your input and try again."
            )


def _settings(fields: Fields) -> Iterator[str]:
    config = inner(fields, "inferenceConfig")
    for name in ("temperature", "topP"):
        value = config.get(name)
        if value is not None and not (isinstance(value, int | float) and 0 <= value <= 1):
            yield f"1 validation error detected: Value at 'inferenceConfig.{name}' failed to satisfy constraint: Member must be between 0 and 1"
    limit = config.get("maxTokens")
    if limit is not None and not (isinstance(limit, int) and limit >= 1):
        yield "1 validation error detected: Value at 'inferenceConfig.maxTokens' failed to satisfy constraint: Member must have value greater than or equal to 1"
    stops = config.get("stopSequences", [])
    if not isinstance(stops, list) or len(cast("list[object]", stops)) > _MOST_STOPS:
        yield "1 validation error detected: Value at 'inferenceConfig.stopSequences' failed to satisfy constraint"
    form = inner(inner(fields, "outputConfig"), "textFormat")
    if form:
        schema = inner(inner(form, "structure"), "jsonSchema").get("schema")
        try:
            orjson.loads(schema if isinstance(schema, str) else "")
        except orjson.JSONDecodeError:
            yield "The schema in outputConfig.textFormat must be a string that holds a JSON Schema."
    for block in objects(fields.get("system")):
        if isinstance(block.get("text"), str) and not str(block["text"]).strip():
            yield "The text field in the SystemContentBlock object is blank. Add text to the text field, and try again."


def _tools(fields: Fields) -> Iterator[str]:
    config = fields.get("toolConfig")
    if config is None:
        return
    tools = objects(inner(fields, "toolConfig").get("tools"))
    if not tools:
        yield "The toolConfig.tools field must have at least one tool."
    names: set[object] = set()
    for tool in tools:
        spec = inner(tool, "toolSpec")
        if not spec:
            continue
        name, schema = spec.get("name"), inner(inner(spec, "inputSchema"), "json")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            yield f"1 validation error detected: Value '{name}' at 'toolConfig.tools.toolSpec.name' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+"
        if schema.get("type") != "object":
            yield "The value at toolConfig.tools.toolSpec.inputSchema.json.type must be one of the following: object."
        if spec.get("description") == "":
            yield "The description of a tool must not be empty."
        names.add(name)
    choice = inner(inner(fields, "toolConfig"), "toolChoice")
    if choice and len(choice.keys() & {"auto", "any", "tool"}) != 1:
        yield "The toolConfig.toolChoice field must have one of auto, any and tool."
    named = inner(choice, "tool").get("name")
    if named is not None and named not in names:
        yield f"The tool {named} of toolConfig.toolChoice is not among the tools."
    if thinks(fields) and choice.keys() & {"any", "tool"}:
        yield "Thinking may not be enabled when tool_choice forces tool use."


def _conversation(fields: Fields) -> Iterator[str]:
    messages = objects(fields.get("messages"))
    roles = [message.get("role") for message in messages]
    if not roles or roles[0] != "user":
        yield "A conversation must start with a user message. Try again with a conversation that starts with a user message."
        return
    if any(role not in ("user", "assistant", "system") for role in roles):
        yield "The role of a message must be user or assistant."
    if any(a == b for a, b in itertools.pairwise(roles)):
        yield "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and assistant roles and try again."
    waiting: set[object] = set()
    for at, message in enumerate(messages):
        blocks = objects(message.get("content"))
        where = f"messages.{at}"
        if not blocks:
            yield f"The content field in the Message object at {where} is empty. Add a ContentBlock object to the content field and try again."
        for place, block in enumerate(blocks):
            yield from _block(block, f"{where}.content.{place}")
        yield from _answered(blocks, waiting, where)
        waiting = {inner(b, "toolUse").get("toolUseId") for b in blocks if "toolUse" in b}
        if any("document" in b for b in blocks) and not any("text" in b for b in blocks):
            yield f"The document at {where}.content needs a text block beside it."
        used = any("toolUse" in b or "toolResult" in b for b in blocks)
        if used and "toolConfig" not in fields:
            yield "The toolConfig field must be defined when using toolUse and toolResult content blocks."


def _answered(blocks: Sequence[Fields], waiting: set[object], where: str) -> Iterator[str]:
    """Every call of the turn before must have its result here, and no other."""
    given = [inner(b, "toolResult").get("toolUseId") for b in blocks if "toolResult" in b]
    if len(given) > len(waiting):
        yield f"The number of toolResult blocks at {where}.content exceeds the number of toolUse blocks of previous turn."
    missing = [str(one) for one in waiting if one not in given]
    if missing:
        yield f"Expected toolResult blocks at {where}.content for the following Ids: {', '.join(missing)}"


def _block(block: Fields, where: str) -> Iterator[str]:
    if len(block) != 1 or not block.keys() <= _BLOCKS:
        yield f"The content block at {where} must have exactly one known member."
        return
    text = block.get("text")
    if "text" in block and (not isinstance(text, str) or not text.strip()):
        yield f"The text field in the ContentBlock object at {where} is blank. Add text to the text field, and try again."
    for kind in ("image", "document", "audio"):
        if kind in block:
            yield from _media(inner(block, kind), kind, where)
    if "toolUse" in block:
        yield from _use(inner(block, "toolUse"), where)
    if "toolResult" in block:
        yield from _result(inner(block, "toolResult"), where)
    said = inner(inner(block, "reasoningContent"), "reasoningText")
    if said and said.get("signature", SIGNATURE) != SIGNATURE:
        yield f"The model returned the following errors: {where}: Invalid `signature` in `thinking` block"


def _media(media: Fields, kind: str, where: str) -> Iterator[str]:
    source = inner(media, "source")
    if kind == "image" and media.get("format") not in _IMAGES:
        yield f"The image format at {where} is not one of {', '.join(_IMAGES)}."
    if kind == "document" and not _DOCUMENT.fullmatch(str(media.get("name", ""))):
        yield "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, parentheses, and square brackets. The name can't contain more than one consecutive whitespace character."
    if len(source) != 1:
        yield f"The source at {where}.{kind} must have exactly one member."
    data = source.get("bytes")
    if "bytes" in source:
        try:
            base64.b64decode(str(data), validate=True)
        except (ValueError, binascii.Error):
            yield f"The bytes at {where}.{kind}.source are not base64."


def _use(use: Fields, where: str) -> Iterator[str]:
    if not _ID.fullmatch(str(use.get("toolUseId", ""))):
        yield f"1 validation error detected: Value at '{where}.toolUse.toolUseId' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.:-]+"
    if not _NAME.fullmatch(str(use.get("name", ""))):
        yield f"1 validation error detected: Value at '{where}.toolUse.name' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+"
    if not isinstance(use.get("input"), dict):
        yield f"The format of the value at {where}.toolUse.input is invalid. Provide a json object for the field and try again."


def _result(result: Fields, where: str) -> Iterator[str]:
    if result.get("status", "success") not in ("success", "error"):
        yield f"The status at {where}.toolResult must be success or error."
    content = objects(result.get("content"))
    if not content and not isinstance(result.get("content"), list):
        yield f"The content field at {where}.toolResult is missing."
    for place, block in enumerate(content):
        text = block.get("text")
        if isinstance(text, str) and not text.strip():
            yield f"The text field in the ContentBlock object at {where}.toolResult.content.{place} is blank. Add text to the text field, and try again."
        if "image" in block:
            yield from _media(inner(block, "image"), "image", f"{where}.toolResult.content.{place}")
