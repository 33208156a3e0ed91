"""Recorded OpenAI chats with many providers: the laws hold, and the SDK reads the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai._streaming import SSEDecoder
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from extproc.dialects.openai_chat import DIALECT
from extproc.model.reply import ChoiceEnded, Event, Failed, Finished, Reason
from tests.transcripts import by_id, exchanges, needed

from . import kit_chat as kit

pytestmark = needed

ALL = list(exchanges("openai-chat.jsonl"))
ERRORS = list(exchanges("errors.jsonl", "openai-chat"))


@pytest.mark.parametrize("exchange", ALL + ERRORS, ids=by_id)
def test_the_request_comes_back(exchange: dict[str, Any]) -> None:
    request = exchange["request"]
    chat = kit.parse(request)
    if chat.stream:
        options = request.get("stream_options") or {}
        request = {**request, "stream_options": {**options, "include_usage": True}}
    assert kit.rebuilt(chat) == request
    untouched = DIALECT.render_request(chat, kit.target(chat.model))
    assert json.loads(untouched.body) == request


@pytest.mark.parametrize("exchange", ERRORS, ids=by_id)
def test_errors_are_understood(exchange: dict[str, Any]) -> None:
    body = exchange["response"].encode()
    error = kit.failure(kit.decode(body, exchange["response_headers"], exchange["status"]))
    assert error.status == exchange["status"]
    value = json.loads(body)
    said = value["error"]["message"] if isinstance(value.get("error"), dict) else value["message"]
    assert error.message == said


def decoded(exchange: dict[str, Any]) -> list[Event]:
    """The events, the same for several cuts; whatever did not fail passes byte by byte."""
    body = exchange["response"].encode()
    headers = exchange["response_headers"]
    whole, raw = kit.drain(kit.decoder(headers), [body])
    for step in (997, 61, 4096):
        pieces = [body[i : i + step] for i in range(0, len(body), step)]
        events, passed = kit.drain(kit.decoder(headers), pieces)
        assert repr(events) == repr(whole)
        assert passed == raw
    if isinstance(whole[-1], Finished):
        assert raw == body
    else:
        assert body.startswith(raw)
    return whole


def sdk_view(exchange: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Text, tool calls and finish reason of each choice as the SDK's types read them."""
    body = exchange["response"].encode()
    choices: dict[int, dict[str, Any]] = {}
    if not exchange["stream"]:
        # As the SDK does it: without validation, since providers do not keep to the schema.
        reply = ChatCompletion.construct(**json.loads(body))
        for choice in reply.choices:
            message = choice.message
            view = choices.setdefault(
                choice.index, {"text": "", "arguments": "", "names": [], "finish": ""}
            )
            view["finish"] = choice.finish_reason
            if message is None:
                continue
            view["text"] = text_of(message.content)
            calls: list[Any] = list(message.tool_calls or [])
            for call in calls:
                view["names"].append(call.function.name)
                view["arguments"] += call.function.arguments or ""
            if message.function_call and message.function_call.name:
                view["names"].append(message.function_call.name)
                view["arguments"] += message.function_call.arguments
        return choices
    for event in SSEDecoder().iter_bytes(iter([body])):
        if event.data.startswith("[DONE]"):
            break
        if "error" in event.json():
            continue
        for choice in ChatCompletionChunk.construct(**event.json()).choices:
            view = choices.setdefault(
                choice.index, {"text": "", "arguments": "", "names": [], "finish": ""}
            )
            view["text"] += text_of(choice.delta.content)
            for call in choice.delta.tool_calls or []:
                if call.function and call.function.name:
                    view["names"].append(call.function.name)
                view["arguments"] += (call.function and call.function.arguments) or ""
            view["finish"] = choice.finish_reason or view["finish"]
    return choices


def text_of(content: Any) -> str:
    if isinstance(content, list):
        return "".join(item["text"] for item in content if item["type"] == "text")
    return content or ""


def sdk_usage(exchange: dict[str, Any]) -> tuple[int, int] | None:
    body = exchange["response"]
    if not exchange["stream"]:
        data = [json.loads(body)]
    else:
        found = SSEDecoder().iter_bytes(iter([body.encode()]))
        data = [event.json() for event in found if not event.data.startswith("[DONE]")]
    usages = [datum["usage"] for datum in data if datum.get("usage")]
    if not usages:
        return None
    last = usages[-1]
    prompt, output, total = last["prompt_tokens"], last["completion_tokens"], last["total_tokens"]
    reasoning = (last.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return prompt, output + (reasoning if total == prompt + output + reasoning else 0)


@pytest.mark.parametrize("exchange", ALL, ids=by_id)
def test_the_reply_says_what_the_sdk_reads(exchange: dict[str, Any]) -> None:
    events = decoded(exchange)
    if isinstance(events[-1], Failed):
        assert '"error"' in exchange["response"]
        if "error-in-stream" not in exchange["traits"]:
            return
    endings = {event.choice: event for event in events if isinstance(event, ChoiceEnded)}
    for choice, view in sdk_view(exchange).items():
        assert kit.text(events, choice) == view["text"]
        found = kit.calls(events, choice)
        assert [name for _, name, _ in found] == view["names"]
        assert "".join(arguments for _, _, arguments in found) == view["arguments"]
        if isinstance(events[-1], Finished):
            assert (endings[choice].raw or "") == (view["finish"] or "")
            if found and view["finish"] in ("stop", "tool_calls", "function_call"):
                assert endings[choice].reason is Reason.TOOL
    usage = kit.usage(events)
    assert (None if usage is None else (usage.prompt, usage.output)) == sdk_usage(exchange)
