"""What Anthropic's Messages API refuses, as far as clients and gateways get it wrong.

Takes a request's fields; gives the message of the first refusal (all are
`invalid_request_error`s), or None. The wording is the provider's own where it is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias, cast

Fields: TypeAlias = Mapping[str, object]

SIGNATURE = "bW9jay1hbnRocm9waWMtc2lnbmF0dXJl"
"""of everything that the mock thinks"""
NEW_VERSION = "2026-10-21"
_COUNTED = frozenset(
    {
        "model",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "output_format",
        "cache_control",
        "context_management",
        "mcp_servers",
        "speed",
    }
)
_MEMBERS = _COUNTED | {
    "max_tokens",
    "stream",
    "stop_sequences",
    "temperature",
    "top_p",
    "top_k",
    "metadata",
    "service_tier",
    "container",
    "inference_geo",
}
_BODY_VERSION = frozenset({"anthropic_version", "anthropic_beta"})
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_MOST_MARKS = 4
_LEAST_BUDGET = 1024
_CHOICES = ("auto", "any", "tool", "none")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")


def objects(value: object) -> list[Fields]:
    """The objects of a list; nothing of anything else."""
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("Fields", item) for item in items if isinstance(item, dict)]


def inner(fields: Fields, name: str) -> Fields:
    """A member that is an object, or an empty one."""
    value = fields.get(name)
    return cast("Fields", value) if isinstance(value, dict) else {}


def blocks_of(content: object) -> list[Fields]:
    """A content's blocks; a string is one of text."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return objects(content)


def thinks(fields: Fields) -> bool:
    """Whether the request asks the model to think."""
    return inner(fields, "thinking").get("type") in ("enabled", "adaptive")


def wrong(fields: Fields, variant: str, *, count: bool) -> str | None:
    """The first thing that Anthropic would not take. `variant`: bedrock, vertex, or empty."""
    checks = (
        _members(fields, variant, count=count),
        _settings(fields, count=count),
        _tools(fields),
        _thinking(fields),
        _conversation(fields, variant),
        _marks(fields),
    )
    for check in checks:
        for found in check:
            return found
    return None


def _members(fields: Fields, variant: str, *, count: bool) -> Iterator[str]:
    known = _COUNTED if count else _MEMBERS
    if variant:
        known = (known - ({"stream"} if variant == "bedrock" else set())) | _BODY_VERSION
        known -= set() if count else {"model"}
        if not isinstance(fields.get("anthropic_version"), str):
            yield "anthropic_version: Field required"
    for name in fields:
        if name not in known:
            yield f"{name}: Extra inputs are not permitted"
    for name in () if count else ("max_tokens",):
        if name not in fields:
            yield f"{name}: Field required"
    if "messages" not in fields:
        yield "messages: Field required"


def _settings(fields: Fields, *, count: bool) -> Iterator[str]:
    limit = fields.get("max_tokens")
    if not count and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        yield "max_tokens: Input should be a valid integer, greater than or equal to 0"
    if fields.get("anthropic_version") == NEW_VERSION:
        for name in ("temperature", "top_p", "top_k"):
            if name in fields:
                yield f"{name}: Extra inputs are not permitted"
    for name in ("temperature", "top_p"):
        value = fields.get(name, 0)
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            yield f"{name}: range: 0..1"
    stops = fields.get("stop_sequences", [])
    words = cast("list[object]", stops) if isinstance(stops, list) else [None]
    if not all(isinstance(word, str) and word.strip() for word in words):
        yield "stop_sequences: each stop sequence must contain non-whitespace"
    effort = inner(fields, "output_config").get("effort")
    if effort is not None and effort not in _EFFORTS:
        yield f"output_config.effort: Input should be {', '.join(_EFFORTS)}"
    form = inner(inner(fields, "output_config"), "format")
    if form and (form.get("type") != "json_schema" or not inner(form, "schema")):
        yield "output_config.format.schema: Field required"


def _tools(fields: Fields) -> Iterator[str]:
    tools = objects(fields.get("tools"))
    names = [tool.get("name") for tool in tools]
    if len(set(names)) != len(names):
        yield "tools: Tool names must be unique."
    for at, tool in enumerate(tools):
        if tool.get("type", "custom") != "custom":
            continue
        if not _NAME.fullmatch(str(tool.get("name", ""))):
            yield f"tools.{at}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        if inner(tool, "input_schema").get("type") != "object":
            yield f"tools.{at}.custom.input_schema.type: Input should be 'object'"
    choice = inner(fields, "tool_choice")
    if not choice:
        return
    if not tools:
        yield "tool_choice may only be specified while providing tools."
    kind = choice.get("type")
    if kind not in _CHOICES:
        yield f"tool_choice: Input tag {kind!r} does not match any of the expected tags"
    if kind == "tool" and choice.get("name") not in names:
        yield f"tool_choice.tool.name: Tool '{choice.get('name')}' not found in provided tools"
    if kind == "none" and "disable_parallel_tool_use" in choice:
        yield "tool_choice.none.disable_parallel_tool_use: Extra inputs are not permitted"


def _thinking(fields: Fields) -> Iterator[str]:
    thinking = inner(fields, "thinking")
    if thinking.get("type") == "enabled":
        budget, limit = thinking.get("budget_tokens"), fields.get("max_tokens", 1 << 30)
        if not isinstance(budget, int) or budget < _LEAST_BUDGET:
            yield "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"
        elif isinstance(limit, int) and budget >= limit:
            yield "`max_tokens` must be greater than `thinking.budget_tokens`."
    if not thinks(fields):
        return
    if inner(fields, "tool_choice").get("type") in ("any", "tool"):
        yield "Thinking may not be enabled when tool_choice forces tool use."
    if fields.get("temperature", 1) != 1:
        yield "`temperature` may only be set to 1 when thinking is enabled."
    if "top_k" in fields:
        yield "`top_k` must be unset when thinking is enabled."


# --- the conversation -----------------------------------------------------------------------


def _conversation(fields: Fields, variant: str) -> Iterator[str]:
    value = fields.get("messages")
    messages = objects(value)
    if not messages or len(messages) != len(cast("list[object]", value)):
        yield "messages: at least one message is required"
        return
    for at, message in enumerate(messages):
        if message.get("role") not in ("user", "assistant", "system"):
            yield f"messages.{at}.role: Input should be 'user' or 'assistant'"
        if message.keys() - {"role", "content"}:
            yield f"messages.{at}: Extra inputs are not permitted"
    if messages[0].get("role") != "user":
        yield 'messages: first message must use the "user" role'
    yield from _contents(fields, messages, variant)
    yield from _answers(messages)
    if inner(fields, "thinking").get("type") == "enabled":
        yield from _thought(messages)


def _contents(fields: Fields, messages: Sequence[Fields], variant: str) -> Iterator[str]:
    system = fields.get("system")
    for place, block in enumerate(blocks_of(system) if system is not None else []):
        yield from _block(block, "system", f"system.{place}", variant)
    for at, message in enumerate(messages):
        blocks = blocks_of(message.get("content"))
        role = str(message.get("role"))
        if not blocks and (at < len(messages) - 1 or role == "user"):
            yield f"messages.{at}: all messages must have non-empty content except for the optional final assistant message"
        for place, block in enumerate(blocks):
            yield from _block(block, role, f"messages.{at}.content.{place}", variant)
    last = messages[-1]
    if last.get("role") == "assistant":
        ends = [str(b.get("text", "")) for b in blocks_of(last.get("content"))][-1:]
        if any(text != text.rstrip() for text in ends):
            yield "messages: final assistant content cannot end with trailing whitespace"


def _block(block: Fields, role: str, where: str, variant: str) -> Iterator[str]:
    kind = block.get("type")
    if not isinstance(kind, str):
        yield f"{where}.type: Field required"
    if kind == "text":
        text = block.get("text")
        if not isinstance(text, str) or not text:
            yield f"{where}: text content blocks must be non-empty"
        elif not text.strip():
            yield f"{where}: text content blocks must contain non-whitespace text"
    elif role == "system":
        yield f"{where}: Input should be a text block"
    if kind in ("image", "document"):
        if role == "assistant":
            yield f"{where}: `{kind}` blocks are not permitted in assistant messages"
        yield from _media(inner(block, "source"), str(kind), where, variant)
    if kind in ("tool_use", "thinking", "redacted_thinking") and role != "assistant":
        yield f"{where}: `{kind}` blocks can only be in `assistant` messages"
    if kind == "tool_use":
        yield from _use(block, where)
    if kind == "tool_result":
        yield from _result(block, role, where, variant)
    if kind == "thinking" and block.get("signature") != SIGNATURE:
        yield f"{where}: Invalid `signature` in `thinking` block"


def _media(source: Fields, kind: str, where: str, variant: str) -> Iterator[str]:
    match source.get("type"):
        case "base64":
            kinds = _IMAGES if kind == "image" else ("application/pdf",)
            if source.get("media_type") not in kinds:
                yield f"{where}.{kind}.source.base64.media_type: Input should be {', '.join(kinds)}"
            if not isinstance(source.get("data"), str):
                yield f"{where}.{kind}.source.base64.data: Field required"
        case "url" if variant == "bedrock":
            yield f"{where}.{kind}.source: URL sources are not supported"
        case "url":
            if not str(source.get("url", "")).startswith("https://"):
                yield f"{where}.{kind}.source.url.url: Only HTTPS URLs are supported."
        case "text":
            if kind == "image" or source.get("media_type") != "text/plain":
                yield f"{where}.{kind}.source.text.media_type: Input should be 'text/plain'"
        case "file" | "content":
            pass
        case other:
            yield f"{where}.{kind}.source: Input tag {other!r} does not match any of the expected tags"


def _use(block: Fields, where: str) -> Iterator[str]:
    if not _ID.fullmatch(str(block.get("id", ""))):
        yield f"{where}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
    if not _NAME.fullmatch(str(block.get("name", ""))):
        yield f"{where}.tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
    if not isinstance(block.get("input"), dict):
        yield f"{where}.tool_use.input: Input should be a valid dictionary"


def _result(block: Fields, role: str, where: str, variant: str) -> Iterator[str]:
    if role != "user":
        yield f"{where}: `tool_result` blocks can only be in `user` messages"
    content = block.get("content")
    if content and not isinstance(content, str):
        for place, one in enumerate(objects(content)):
            yield from _block(one, role, f"{where}.content.{place}", variant)


def _answers(messages: Sequence[Fields]) -> Iterator[str]:
    """Every call of a turn has its result at the head of the next message, and no other result is there."""
    waiting: list[object] = []
    for at, message in enumerate(messages):
        blocks = blocks_of(message.get("content"))
        given: list[object] = []
        for block in blocks:
            if block.get("type") != "tool_result":
                break
            given.append(block.get("tool_use_id"))
        missing = [str(one) for one in waiting if one not in given]
        if missing:
            yield f"messages.{at - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the next message."
        every = [b.get("tool_use_id") for b in blocks if b.get("type") == "tool_result"]
        odd = [str(one) for one in every if one not in waiting]
        if odd:
            yield f"messages.{at}.content: unexpected `tool_use_id` found in `tool_result` blocks: {', '.join(odd)}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
        waiting = [b.get("id") for b in blocks if b.get("type") == "tool_use"]
    if waiting:
        yield f"messages.{len(messages) - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(map(str, waiting))}."


def _thought(messages: Sequence[Fields]) -> Iterator[str]:
    """With manual thinking, a turn whose calls were just answered begins with thinking."""
    if len(messages) < 2 or not any(
        b.get("type") == "tool_result" for b in blocks_of(messages[-1].get("content"))
    ):
        return
    first = blocks_of(messages[-2].get("content"))[:1]
    if first and first[0].get("type") not in ("thinking", "redacted_thinking"):
        yield f"messages.{len(messages) - 2}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first[0].get('type')}`."


def _marks(fields: Fields) -> Iterator[str]:
    places: list[Fields] = [*objects(fields.get("system")), *objects(fields.get("tools"))]
    for message in objects(fields.get("messages")):
        places.extend(objects(message.get("content")))
    found = sum("cache_control" in place for place in places)
    if found > _MOST_MARKS:
        yield f"A maximum of 4 blocks with cache_control may be provided. Found {found}."
