"""What the Gemini API refuses, as far as clients and gateways get it wrong.

Takes a model and a request's fields in camel case; gives the message of the
first refusal (all are INVALID_ARGUMENT), or None. The wording is the provider's
own where it is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias, cast

Fields: TypeAlias = Mapping[str, object]

SIGNATURE = "bW9jay1zaWduYXR1cmU="
"""of everything that the mock thinks"""
_ACCEPTED = frozenset({SIGNATURE, "skip_thought_signature_validator"})
_MEMBERS = frozenset(
    {
        "contents",
        "systemInstruction",
        "tools",
        "toolConfig",
        "generationConfig",
        "safetySettings",
        "cachedContent",
        "labels",
        "model",
        "modelArmorConfig",
        "serviceTier",
        "store",
    }
)
_CONFIG = frozenset(
    {
        "temperature",
        "topP",
        "topK",
        "maxOutputTokens",
        "stopSequences",
        "seed",
        "frequencyPenalty",
        "presencePenalty",
        "candidateCount",
        "responseLogprobs",
        "logprobs",
        "responseMimeType",
        "responseSchema",
        "responseJsonSchema",
        "responseModalities",
        "thinkingConfig",
        "mediaResolution",
        "speechConfig",
        "imageConfig",
        "audioTimestamp",
        "routingConfig",
    }
)
_PARTS = frozenset(
    {
        "text",
        "inlineData",
        "fileData",
        "functionCall",
        "functionResponse",
        "executableCode",
        "codeExecutionResult",
        "toolCall",
        "toolResponse",
        "videoMetadata",
    }
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_GEN_3 = re.compile(r"gemini-[3-9]|gemini-\w+-latest")
_MOST_STOPS = 5


def is_gen_3(model: str) -> bool:
    """Whether the model insists on signatures."""
    return _GEN_3.match(model) is not None


def wrong(model: str, fields: Fields) -> str | None:
    """The first thing that the API would not take."""
    for check in (_members(fields), _config(model, fields), _tools(fields), _turns(model, fields)):
        for found in check:
            return found
    return None


def objects(value: object) -> list[Fields]:
    """The objects of a list, or the one that stands for a list."""
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    return [cast("Fields", item) for item in items if isinstance(item, dict)]


def inner(fields: Fields, name: str) -> Fields:
    """A member that is an object, or an empty one."""
    value = fields.get(name)
    return cast("Fields", value) if isinstance(value, dict) else {}


def declared(fields: Fields) -> list[Fields]:
    """All function declarations."""
    tools = objects(fields.get("tools"))
    return [one for tool in tools for one in objects(tool.get("functionDeclarations"))]


def _unknown(name: str, place: str) -> str:
    at = f" at '{place}'" if place else ""
    return f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.'


def _members(fields: Fields) -> Iterator[str]:
    yield from (_unknown(name, "") for name in fields if name not in _MEMBERS)
    config = inner(fields, "generationConfig")
    yield from (_unknown(name, "generation_config") for name in config if name not in _CONFIG)


def _config(model: str, fields: Fields) -> Iterator[str]:
    config = inner(fields, "generationConfig")
    temperature = config.get("temperature")
    if temperature is not None and not (
        isinstance(temperature, int | float) and 0 <= temperature <= 2
    ):
        yield (
            f"Unable to submit request because it has a temperature value of {temperature} but the"
            " supported range is from 0 (inclusive) to 2.0001 (exclusive)."
        )
    stops = config.get("stopSequences", [])
    if not isinstance(stops, list) or len(cast("list[object]", stops)) > _MOST_STOPS:
        yield "The number of stop sequences must be at most 5."
    limit = config.get("maxOutputTokens")
    if limit is not None and not (isinstance(limit, int) and limit >= 1):
        yield "max_output_tokens must be positive."
    is_json = config.get("responseMimeType") == "application/json"
    if not is_json and ("responseSchema" in config or "responseJsonSchema" in config):
        yield "generation_config.response_schema: only allowed when response_mime_type is set."
    if is_json and declared(fields) and not is_gen_3(model):
        yield "Function calling with a response mime type: 'application/json' is unsupported"
    if config.get("logprobs") is not None and config.get("responseLogprobs") is not True:
        yield "Logprobs is only allowed when response_logprobs is set to true."
    thinking = inner(config, "thinkingConfig")
    if thinking and model.startswith(("gemini-1", "gemini-2.0")):
        yield "Thinking is not enabled for this model."
    if "thinkingLevel" in thinking and not is_gen_3(model):
        yield "Thinking level is not supported for this model."
    if "thinkingLevel" in thinking and "thinkingBudget" in thinking:
        yield "You can only set only one of thinking budget and thinking level."
    if "pro" in model and thinking.get("thinkingBudget") == 0:
        yield "Budget 0 is invalid. This model only works in thinking mode."


def _tools(fields: Fields) -> Iterator[str]:
    names: set[object] = set()
    for i, one in enumerate(declared(fields)):
        name = one.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            yield (
                f"* GenerateContentRequest.tools[0].function_declarations[{i}].name: Invalid"
                " function name. Must start with a letter or an underscore."
            )
        if "parameters" in one and "parametersJsonSchema" in one:
            yield "Only one of parameters and parameters_json_schema may be set."
        if name in names:
            yield f"Duplicate function declaration found: {name}"
        names.add(name)
    calling = inner(inner(fields, "toolConfig"), "functionCallingConfig")
    allowed = calling.get("allowedFunctionNames")
    if allowed and calling.get("mode") not in ("ANY", "VALIDATED"):
        yield "Function calling config: allowed_function_names should only be set when mode is ANY."
    for name in cast("list[object]", allowed) if isinstance(allowed, list) else []:
        if name not in names:
            yield f"allowed_function_names contains {name}, which is not a declared function."


def _turns(model: str, fields: Fields) -> Iterator[str]:
    contents = objects(fields.get("contents"))
    if not contents:
        yield "* GenerateContentRequest.contents: contents is not specified"
    system = fields.get("systemInstruction")
    yield from _content(
        inner(fields, "systemInstruction"), "system_instruction", system is not None
    )
    waiting: list[object] = []
    for i, content in enumerate(contents):
        yield from _content(content, f"contents[{i}]", given=True)
        role = content.get("role", "user")
        if role not in ("user", "model", "function"):
            yield "Please use a valid role: user, model."
        parts = objects(content.get("parts"))
        calls = [part for part in parts if "functionCall" in part]
        results = [inner(part, "functionResponse") for part in parts if "functionResponse" in part]
        if waiting and len(results) != len(waiting):
            yield (
                "Please ensure that the number of function response parts is equal to the number"
                " of function call parts of the function call turn."
            )
        if results and not waiting:
            yield (
                "Please ensure that function response turn comes immediately after a function"
                " call turn."
            )
        yield from _results(results, waiting)
        waiting = [inner(call, "functionCall").get("name") for call in calls]
        if calls and i == 0:
            yield (
                "Please ensure that function call turn comes immediately after a user turn or"
                " after a function response turn."
            )
    if is_gen_3(model):
        yield from _signatures(contents)


def _results(results: list[Fields], waiting: list[object]) -> Iterator[str]:
    for result, name in zip(results, waiting, strict=False):
        if not isinstance(result.get("response"), dict):
            yield "functionResponse.response must be an object."
        if result.get("name") != name:
            yield f"The function response is for {result.get('name')}, the call was of {name}."


def _content(content: Fields, place: str, given: bool) -> Iterator[str]:
    if not given:
        return
    parts = objects(content.get("parts"))
    if not parts:
        yield f"* GenerateContentRequest.{place}.parts: contents.parts must not be empty."
    for part in parts:
        data = part.keys() & _PARTS
        if len(data - {"videoMetadata"}) > 1:
            yield "Proto field is not repeating: oneof field 'data' is already set."
        if not data:
            yield f"* GenerateContentRequest.{place}.parts: required oneof field 'data' must have one initialized field"
        medium = inner(part, "inlineData") or inner(part, "fileData")
        if medium and not medium.get("mimeType"):
            yield "The mime type of a part must not be empty."
        signature = part.get("thoughtSignature")
        if isinstance(signature, str) and signature not in _ACCEPTED:
            yield "Thought signature is not valid."


def _signatures(contents: list[Fields]) -> Iterator[str]:
    """In the current turn the first call of each step must be signed."""
    start = 0
    for i, content in enumerate(contents):
        parts = objects(content.get("parts"))
        said = content.get("role", "user") == "user"
        if said and not any("functionResponse" in part for part in parts):
            start = i
    for i, content in enumerate(contents[start:], start):
        calls = [part for part in objects(content.get("parts")) if "functionCall" in part]
        if calls and "thoughtSignature" not in calls[0]:
            name = inner(calls[0], "functionCall").get("name")
            yield (
                "Function call is missing a thought_signature in functionCall parts. Additional"
                f" data, function call `default_api:{name}`, position {i + 1}."
            )
