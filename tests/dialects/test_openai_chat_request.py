"""OpenAI Chat requests: what is read, what is refused, and that nothing is lost on the way back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.dialects._extras import BOUND
from extproc.dialects.openai_chat import DIALECT
from extproc.model.chat import (
    Chat,
    Image,
    ListModels,
    Message,
    OutputKind,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolMode,
    ToolResult,
)
from extproc.model.errors import GatewayError, InvalidRequest, NotFound

from . import kit_chat as kit

USER = {"role": "user", "content": "x"}


def body(**members: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [USER], **members}


def refused(request: Any, **headers: str) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        kit.parse(request, **headers)
    return caught.value


# --- the law


@pytest.mark.parametrize("name", ["request_everything.json", "request_stream_legacy.json"])
def test_render_gives_back_what_was_parsed(name: str) -> None:
    request = json.loads(kit.fixture(name))
    assert kit.rebuilt(kit.parse(request)) == request


CONTENT = st.sampled_from(
    [None, "", "hi", [], [{"type": "text", "text": "a"}], [{"type": "text", "text": ""}]]
)


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
@pytest.mark.parametrize("content", [None, "", [], [{"type": "text", "text": "a"}], "absent"])
def test_trap_21_forms_of_content(role: str, content: Any) -> None:
    message: dict[str, Any] = {"role": role}
    if content != "absent":
        message["content"] = content
    if role == "tool":
        message["tool_call_id"] = "c"
    request = body(messages=[message])
    assert kit.rebuilt(kit.parse(request)) == request


SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text(max_size=4)
ANY_JSON = st.recursive(
    SCALARS,
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=4), below, max_size=3)
    ),
    max_leaves=8,
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", "function", "critic"])},
    optional={
        "content": CONTENT | ANY_JSON,
        "name": st.none() | st.text(max_size=4),
        "tool_call_id": st.text(max_size=4) | SCALARS,
        "refusal": st.none() | st.text(max_size=4),
        "reasoning_content": st.none() | st.text(max_size=4) | ANY_JSON,
        "tool_calls": st.lists(
            st.fixed_dictionaries(
                {
                    "function": st.fixed_dictionaries(
                        {"name": st.text(max_size=3), "arguments": st.text(max_size=3)}
                    )
                },
                optional={
                    "id": st.none() | st.text(max_size=3),
                    "type": st.sampled_from([None, "function", "custom", "x"]),
                    "more": ANY_JSON,
                },
            ),
            max_size=2,
        )
        | ANY_JSON,
        "function_call": ANY_JSON,
        "other": ANY_JSON,
    },
)
REQUESTS = st.fixed_dictionaries(
    {
        "model": st.text(min_size=1, max_size=4),
        "messages": st.lists(MESSAGES, min_size=1, max_size=3),
    },
    optional={
        **dict.fromkeys(
            [
                "temperature",
                "max_tokens",
                "stop",
                "tools",
                "tool_choice",
                "functions",
                "function_call",
                "response_format",
                "reasoning_effort",
                "metadata",
                "user",
                "n",
                "logit_bias",
                "stream_options",
                "unknown",
                "store",
                "prompt_cache_key",
                "verbosity",
                "safety_identifier",
            ],
            ANY_JSON,
        ),
        "stream": st.none() | st.booleans(),
    },
)


@given(REQUESTS)
def test_any_request_is_refused_or_comes_back(request: dict[str, Any]) -> None:
    try:
        chat = kit.parse(request)
    except InvalidRequest:
        return
    if chat.stream:
        request = {
            **request,
            "stream_options": {**(request.get("stream_options") or {}), "include_usage": True},
        }
    assert kit.rebuilt(chat) == request


@given(st.binary(max_size=60) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_nothing_but_documented_errors_is_raised(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        kit.parse(raw)


def test_extra_fills_gaps_but_never_overrules_a_stage() -> None:
    chat = kit.parse(
        body(
            temperature=None,
            messages=[{"role": "user", "content": [{"type": "text", "text": "secret"}]}],
        )
    )
    changed = Message(Role.USER, (Text("[1]"),), extra=chat.messages[0].extra)
    out = kit.rebuilt(Chat("openai_chat", "m", (changed,), extra=chat.extra))
    assert "secret" not in json.dumps(out)
    assert out["messages"] == [{"role": "user", "content": [{"type": "text", "text": "[1]"}]}]


# --- what is understood


def test_canonical_fields() -> None:
    chat = kit.parse(kit.fixture("request_everything.json"))
    assert chat.sampling.max_tokens == 10
    assert chat.sampling.stop == ("END",)
    assert chat.output is not None
    assert chat.output.kind is OutputKind.SCHEMA
    assert chat.reasoning is not None
    assert chat.reasoning.effort == "high"
    assert [tool.name for tool in chat.tools] == ["f", "bare", "", ""]
    assert chat.tool_choice is not None
    assert (chat.tool_choice.mode, chat.tool_choice.names) == (ToolMode.REQUIRED, ("f",))
    picture = chat.messages[2].parts[1]
    assert isinstance(picture, Image)
    assert (picture.source.media_type, picture.source.data) == ("image/png", "iVBORw0=")
    assert isinstance(chat.messages[6].parts[0], Thinking)


def test_trap_34_legacy_functions_become_tools() -> None:
    chat = kit.parse(kit.fixture("request_everything.json"))
    call, result = chat.messages[9].parts[0], chat.messages[10].parts[0]
    assert isinstance(call, ToolCall)
    assert isinstance(result, ToolResult)
    assert (call.name, call.arguments) == ("old", "{}")
    assert call.id == result.call_id != ""
    legacy = kit.parse(kit.fixture("request_stream_legacy.json"))
    assert [tool.name for tool in legacy.tools] == ["old"]
    assert legacy.tool_choice is not None
    assert legacy.tool_choice.names == ("old",)


def test_model_lists() -> None:
    assert DIALECT.parse_request(kit.head("models", "/v1/models"), b"") == ListModels("openai_chat")
    one = DIALECT.parse_request(kit.head("model", "/v1/models/meta%2Fllama"), b"")
    assert one == ListModels("openai_chat", "meta/llama")
    with pytest.raises(NotFound):
        DIALECT.parse_request(kit.head("model", "/v1/models/"), b"")


# --- what is refused


@pytest.mark.parametrize(
    ("request_", "param", "message"),
    [
        ({"messages": [USER]}, "model", "Missing required parameter: 'model'."),
        ({"model": "m"}, "messages", "Missing required parameter: 'messages'."),
        (body(model=3), "model", "model must be a string, got a number"),
        (body(messages="hi"), "messages", "messages must be an array, got a string"),
        (body(messages=[]), "messages", "messages must not be empty"),
        (body(messages=[1]), "messages[0]", "messages[0] must be an object, got a number"),
        (
            body(messages=[USER, {}]),
            "messages[1].role",
            "Missing required parameter: 'messages[1].role'.",
        ),
        (
            body(messages=[{"role": "critic"}]),
            "messages[0].role",
            "messages[0].role must be one of",
        ),
        (
            body(messages=[{"role": "user", "content": 1}]),
            "messages[0].content",
            "must be a string or an array of parts, got a number",
        ),
        (
            body(
                messages=[
                    USER,
                    {"role": "user", "content": [{"type": "image_url", "image_url": "u"}]},
                ]
            ),
            "messages[1].content[0].image_url",
            "messages[1].content[0].image_url must be an object, got a string",
        ),
        (
            body(
                messages=[
                    {
                        "role": "assistant",
                        "tool_calls": [{"function": {"name": "f", "arguments": {}}}],
                    }
                ]
            ),
            "messages[0].tool_calls[0].function.arguments",
            "must be a string, got an object",
        ),
        (body(temperature="hot"), "temperature", "temperature must be a number, got a string"),
        (body(temperature=True), "temperature", "temperature must be a number, got a boolean"),
        (body(max_tokens=1.5), "max_tokens", "max_tokens must be an integer, got a number"),
        (body(stop=[1]), "stop[0]", "stop[0] must be a string, got a number"),
        (body(tools={}), "tools", "tools must be an array, got an object"),
        (body(tools=[{"type": "function"}]), "tools[0].function", "Missing required parameter"),
        (body(metadata={"a": 1}), "metadata.a", "metadata.a must be a string, got a number"),
        (body(store="yes"), "store", "store must be a boolean, got a string"),
        (
            body(stream_options={"include_usage": 1}),
            "stream_options.include_usage",
            "must be a boolean",
        ),
        (body(response_format={"type": "json_schema"}), "response_format.json_schema", "Missing"),
        (body(sluice={"cache": "never"}), "sluice.cache", "must be one of use, bypass, refresh"),
        (body(sluice={"colour": 1}), "sluice.colour", "is not known"),
    ],
)
def test_messages_name_the_place(request_: Any, param: str, message: str) -> None:
    error = refused(request_)
    assert error.param == param
    assert message in error.message


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"\xef\xbb\xbf{}",
        b'{"a":\xff}',
        b"[" * 100_000,
        b'{"model":"a","mod\\u0065l":"b"}',
        b'{"model":"a","n":1e400}',
        b'{"model":"a","temperature":NaN}',
        b'{"model":"a","temperature":-Infinity}',
    ],
)
def test_bodies_that_are_no_json_object(raw: bytes) -> None:
    """trap 16, trap 18, trap 19, trap 20: what parsers disagree on never gets in."""
    assert refused(raw).code in ("invalid_json", "invalid_type")


@pytest.mark.parametrize("value", [0, 1, "true", [], {}])
def test_trap_22_stream_must_be_a_boolean(value: Any) -> None:
    assert refused(body(stream=value)).param == "stream"


def test_trap_22_stream_null_is_the_default() -> None:
    assert kit.parse(body(stream=None)).stream is False
    assert kit.parse(body(stream=True)).stream is True


def test_trap_18_long_integers_stay_exact() -> None:
    """trap 18: in both ways out, spliced and written anew."""
    number = 123456789012345678901234567890
    raw = json.dumps(body(seed=number)).encode()
    assert json.loads(rendered(raw, "other").body)["seed"] == number
    assert kit.rebuilt(kit.parse(raw))["seed"] == number


def test_trap_33_both_token_limits() -> None:
    error = refused(body(max_tokens=1, max_completion_tokens=1))
    assert error.param == "max_tokens"
    assert kit.parse(body(max_tokens=1, max_completion_tokens=None)).sampling.max_tokens == 1


def test_names_that_start_with_nul_are_refused() -> None:
    assert "NUL" in refused(body(**{"\0stop": "x"})).message
    assert "NUL" in refused(body(messages=[{**USER, "\0content": "list"}])).message
    assert kit.parse(body(user="\0fine")).user == "\0fine"


# --- what leaves


def rendered(raw: bytes, model: str = "gpt-4o") -> Any:
    return DIALECT.render_request(kit.parse(raw), kit.target(model))


def test_untouched_bytes_are_the_same_object() -> None:
    raw = b'{ "messages": [{"role":"user","content":"\\ud800"}],"x":1e-9, "model":"gpt-4o"}'
    chat = kit.parse(raw)
    out = DIALECT.render_request(chat, kit.target())
    assert out.body is raw
    assert (out.path, out.stream, out.withhold_usage) == ("/chat/completions", False, False)
    asked = b'{"model":"gpt-4o","messages":[{"role":"user","content":"x"}],"stream":true,"stream_options":{"include_usage":true}}'
    out = DIALECT.render_request(kit.parse(asked), kit.target())
    assert out.body is asked
    assert (out.stream, out.withhold_usage) == (True, False)


def test_only_what_must_differ_is_spliced() -> None:
    raw = b'{ "model" : "gpt-4o", "messages":[{"role":"user","content":"x"}] , "n": 1.0e0 }'
    with pytest.raises(InvalidRequest):
        kit.parse(raw)
    raw = raw.replace(b"1.0e0", b"1")
    assert rendered(raw, "other").body == raw.replace(b'"gpt-4o"', b'"other"')
    sluice = raw.replace(b'"n": 1', b'"n": 1, "sluice":{"tags":["a"]}')
    assert rendered(sluice).body == raw
    streamed = raw.replace(b'"n": 1', b'"stream":true')
    out = rendered(streamed)
    assert out.body == streamed.replace(b"{ ", b'{"stream_options":{"include_usage":true}, ', 1)
    assert out.withhold_usage
    for options in (b"null", b"{}", b'{"include_usage":false}'):
        out = rendered(streamed.replace(b"true", b'true,"stream_options":' + options))
        assert json.loads(out.body)["stream_options"] == {"include_usage": True}
        assert out.withhold_usage


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("o3-mini", "max_completion_tokens"),
        ("azure/gpt-5", "max_completion_tokens"),
        ("llama3", "max_tokens"),
    ],
)
def test_a_foreign_token_limit_takes_the_name_that_the_model_knows(model: str, field: str) -> None:
    chat = Chat(
        "other",
        "x",
        (Message(Role.USER, (Text("hi"),)),),
        sampling=kit.parse(body(max_tokens=5)).sampling,
    )
    out = json.loads(DIALECT.render_request(chat, kit.target(model)).body)
    assert out == {"model": model, "messages": [{"role": "user", "content": "hi"}], field: 5}


def test_foreign_thinking_and_results() -> None:
    parts = (ToolResult("c1", (Text("a"),), is_error=True), ToolResult("c2", ()), Text("and?"))
    chat = Chat(
        "anthropic_messages",
        "x",
        (
            Message(
                Role.ASSISTANT,
                (Thinking("hm", "sig"), ToolCall("c1", "f", "{}"), ToolCall("c2", "g", "{}")),
            ),
            Message(Role.USER, parts),
        ),
    )
    out = DIALECT.render_request(chat, kit.target())
    messages = json.loads(out.body)["messages"]
    assert [message["role"] for message in messages] == ["assistant", "tool", "tool", "user"]
    assert messages[0]["content"] is None
    assert [call["id"] for call in messages[0]["tool_calls"]] == ["c1", "c2"]
    assert messages[2] == {"role": "tool", "tool_call_id": "c2", "content": ""}
    assert out.dropped == ("thinking", "tool_result.is_error")


def test_trap_17_surrogates_become_replacements_when_written_anew() -> None:
    chat = kit.parse(b'{"model":"m","messages":[{"role":"user","content":"a\\ud800"}]}')
    assert kit.rebuilt(chat)["messages"][0]["content"] == "a\ufffd"


# --- options


def test_options_from_headers_and_body() -> None:
    both = kit.parse(
        body(
            sluice={
                "tags": ["x"],
                "user": "u",
                "timeout": 3,
                "cache": "bypass",
                "strict": True,
                "why": "verbose",
            }
        ),
        x_sluice_tags="a, b,",
        x_sluice_timeout="1.5",
    ).options
    assert (both.tags, both.user, both.timeout, both.cache) == (("a", "b"), "u", 1.5, "bypass")
    assert (both.strict, both.why) == (True, "verbose")
    assert kit.parse(body(), x_sluice_strict="1").options.strict


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout", "soon"),
        ("timeout", "-1"),
        ("timeout", "nan"),
        ("cache", "x"),
        ("strict", "maybe"),
    ],
)
def test_bad_option_headers_are_named(name: str, value: str) -> None:
    error = refused(body(), **{f"x_sluice_{name}": value})
    assert error.param == f"x-sluice-{name}"


def test_every_error_is_a_gateway_error_with_status_400() -> None:
    error: GatewayError = refused(body(n="x"))
    assert error.status == 400


@pytest.mark.parametrize(
    ("members", "bound"),
    [
        ({"modalities": ["text", "audio"], "audio": {"voice": "v"}}, ["audio", "modalities"]),
        ({"modalities": ["text"]}, None),
        ({"web_search_options": {}}, ["web_search_options"]),
        ({"response_format": {"type": "grammar"}}, ["response_format"]),
        ({"tool_choice": {"type": "custom"}}, ["tool_choice"]),
        ({"prediction": None, "verbosity": "low"}, None),
    ],
)
def test_what_changes_the_answer_is_bound_to_this_dialect(
    members: dict[str, Any], bound: list[str] | None
) -> None:
    """Other targets refuse it by `Losses.foreign`, and do not drop it."""
    assert kit.parse(body(**members)).extra.fields.get(BOUND) == bound
