"""Providers that speak OpenAI's language with an accent: Azure's paths, xAI's counts, who takes which limit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from extproc.dialects.openai_chat import DIALECT
from extproc.dialects.openai_chat.words import read_usage, write_usage
from extproc.model.call import Target
from extproc.model.chat import (
    Audio,
    Chat,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    Role,
    Sampling,
    Source,
    Text,
)
from extproc.model.embed import Embed, Opaque
from extproc.model.errors import InvalidRequest, Kind, Unsupported
from extproc.model.reply import Usage

from . import kit_chat as kit

ASK = Chat("other", "x", (Message(Role.USER, (Text("hi"),)),))
USER = {"role": "user", "content": "x"}


def azure(base: str = "/openai", version: str = "2025-04-01-preview") -> Target:
    details = (("api_version", version),) if version else ()
    target = replace(kit.target("my dep"), base_path=base, variant="azure")
    return replace(target, details=details)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (
            azure(),
            "/deployments/my%20dep/chat/completions?api-version=2025-04-01-preview",
        ),
        (azure(version="v1"), "/v1/chat/completions"),
        (azure("/openai/v1", ""), "/chat/completions"),
        (azure("/openai/v1"), "/chat/completions"),
        (kit.target(), "/chat/completions"),
    ],
)
def test_azures_paths(target: Target, path: str) -> None:
    assert DIALECT.render_request(ASK, target).path == path


def test_azures_paths_of_other_endpoints() -> None:
    version = "?api-version=2025-04-01-preview"
    embed = DIALECT.render_request(Embed("other", "m", ("a",)), azure())
    assert embed.path == f"/deployments/my%20dep/embeddings{version}"
    picture = Opaque("openai_chat", "POST", "/images/generations", "", "my dep")
    at = DIALECT.render_request(picture, azure()).path
    assert at == f"/deployments/my%20dep/images/generations{version}"
    files = Opaque("openai_chat", "GET", "/files?limit=2", "")
    at = DIALECT.render_request(files, replace(azure(), model="")).path
    assert at == "/files?limit=2&api-version=2025-04-01-preview"
    own = Opaque("openai_chat", "GET", "/files?api-version=x", "")
    assert DIALECT.render_request(own, azure()).path == "/files?api-version=x"


def test_trap_63_a_deployments_name_is_one_segment() -> None:
    path = DIALECT.render_request(ASK, replace(azure(), model="a/b")).path
    assert path.partition("?")[0].count("/") == 4
    assert "?api-version=" in path


@pytest.mark.parametrize("named", ["?", "../x", "a%2Fb", "a;b"])
def test_trap_63_a_name_that_could_be_another_path_is_refused(named: str) -> None:
    with pytest.raises(InvalidRequest):
        DIALECT.render_request(ASK, replace(azure(), model=named))


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("o3", "max_completion_tokens"),
        ("gpt-5.2", "max_completion_tokens"),
        ("gpt-4o", "max_tokens"),
    ],
)
@pytest.mark.parametrize("null", ["", '"max_completion_tokens":null,'])
def test_the_token_limit_takes_the_name_that_the_model_knows(
    model: str, field: str, null: str
) -> None:
    raw = f'{{"model":"x",{null}"messages":[{json.dumps(USER)}],"max_tokens":5,"n":1}}'.encode()
    chat = kit.parse(raw)
    for one in (chat, replace(chat, raw=b"")):
        body = json.loads(DIALECT.render_request(one, kit.target(model)).body)
        assert body[field] == 5
        assert body.get("max_tokens") == (5 if field == "max_tokens" else None)
        assert body["n"] == 1


# --- usage

XAI = {
    "prompt_tokens": 1000,
    "completion_tokens": 180,
    "total_tokens": 1300,
    "prompt_tokens_details": {"cached_tokens": 800},
    "completion_tokens_details": {"reasoning_tokens": 120},
    "cost_in_usd_ticks": 5,
    "num_sources_used": 0,
}
OPENAI = {**XAI, "completion_tokens": 300}
DEEPSEEK = {
    "prompt_tokens": 1000,
    "completion_tokens": 300,
    "total_tokens": 1300,
    "prompt_cache_hit_tokens": 800,
    "prompt_cache_miss_tokens": 200,
    "completion_tokens_details": {"reasoning_tokens": 120},
}


@pytest.mark.parametrize("wire", [XAI, OPENAI, DEEPSEEK])
def test_example_a_is_the_same_from_everyone(wire: dict[str, Any]) -> None:
    usage = read_usage(wire)
    assert (usage.fresh, usage.cache_read, usage.cache_write) == (200, 800, 0)
    assert (usage.output, usage.reasoning, usage.total) == (300, 120, 1300)


def test_example_b_is_written_so() -> None:
    out: Any = write_usage(Usage(fresh=100, cache_write=500, cache_write_1h=500, output=40))
    assert (out["prompt_tokens"], out["completion_tokens"], out["total_tokens"]) == (600, 40, 640)
    assert out["prompt_tokens_details"]["cache_write_tokens"] == 500
    assert out["prompt_tokens_details"]["cached_tokens"] == 0


@pytest.mark.parametrize(
    "null", [{"prompt_tokens_details": None}, {"completion_tokens_details": None}]
)
def test_details_that_are_null_count_nothing(null: dict[str, Any]) -> None:
    assert read_usage({"prompt_tokens": 3, "completion_tokens": 1, **null}) == Usage(
        fresh=3, output=1
    )


# --- errors


def said(status: int, body: Any) -> Any:
    return kit.failure(kit.decode(json.dumps(body).encode(), kit.JSON, status))


def test_xais_wrong_key_is_ours() -> None:
    body = {
        "code": "Client specified an invalid argument",
        "error": "Incorrect API key provided: xa***ey. You can obtain an API key from the console.",
    }
    error = said(400, body)
    assert (error.kind, error.status) == (Kind.UPSTREAM_BAD, 502)
    assert "xa***" not in error.message


def test_xais_error_in_a_stream() -> None:
    start = b'data: {"id":"i","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    broke = b'data: {"code":"Service temporarily unavailable","error":"try later"}\n\n'
    events, passed = kit.drain(kit.decoder(), [start + broke])
    assert kit.failure(events).message == "try later"
    assert passed == start


def test_azures_gateway_and_filter() -> None:
    assert (
        said(404, {"error": {"code": "404", "message": "Resource not found"}}).kind
        is Kind.NOT_FOUND
    )
    error = {"code": "content_filter", "message": "filtered", "type": None, "param": "prompt"}
    assert said(400, {"error": error}).kind is Kind.CONTENT_BLOCKED


def test_trap_59_float_counts_and_a_call_that_is_no_list() -> None:
    usage = read_usage({"prompt_tokens": 3.0, "completion_tokens": 1.0, "total_tokens": 4.0})
    assert usage == Usage(fresh=3, output=1, total=4)
    assert all(type(n) is int for n in (usage.fresh, usage.output, usage.total))
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    choice = {"index": 0, "delta": {"tool_calls": call}, "finish_reason": "stop"}
    body = b"data: " + json.dumps({"id": "i", "choices": [choice]}).encode() + b"\n\n"
    assert kit.calls(kit.decode(body)) == [("c", "f", "{}")]


# --- members that one provider does not know


def named(provider: str, model: str = "m") -> Target:
    return replace(kit.target(model), provider=provider)


@pytest.mark.parametrize(
    ("target", "limit"),
    [
        (named("mistral", "mistral-large-latest"), "max_tokens"),
        (named("deepseek", "deepseek-chat"), "max_tokens"),
        (replace(kit.target("m"), authority="api.deepseek.com:443"), "max_tokens"),
        (kit.target("o3"), "max_completion_tokens"),
        (kit.target("gpt-5-chat-latest"), "max_completion_tokens"),
        (kit.target("mistralai/Mistral-Large"), None),
    ],
)
@pytest.mark.parametrize("given", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("changed", [False, True])
def test_the_limit_is_called_what_the_provider_calls_it(
    target: Target, limit: str | None, given: str, changed: bool
) -> None:
    """Mistral refuses the newer name, DeepSeek passes over it in silence, OpenAI refuses the older."""
    chat = kit.parse({"model": "x", "messages": [USER], given: 7})
    body = DIALECT.render_request(replace(chat, raw=b"") if changed else chat, target).body
    sent = json.loads(body)
    assert {name for name in sent if name.startswith("max_")} == {limit or given}
    assert sent[limit or given] == 7


@pytest.mark.parametrize(
    ("target", "asks"), [(named("mistral"), False), (kit.target("mistral-large-latest"), True)]
)
@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}])
def test_usage_is_not_asked_of_who_tells_it_unasked(
    target: Target, asks: bool, changed: bool, options: Any
) -> None:
    """Mistral answers 422 to `stream_options`, and its last chunk has the usage anyway."""
    chat = kit.parse({"model": "x", "messages": [USER], "stream": True, **options})
    for one in (replace(chat, raw=b"") if changed else chat, replace(ASK, stream=True)):
        body = json.loads(DIALECT.render_request(one, target).body)
        assert ("stream_options" in body) is asks
        assert body["stream"] is True


def test_mistral_names_what_it_would_refuse() -> None:
    sampling = Sampling(seed=1, temperature=0.5)
    chat = replace(ASK, sampling=sampling, cache_key="k", verbosity="low")
    made = DIALECT.render_request(chat, named("mistral"))
    assert set(made.dropped) == {"seed", "verbosity"}
    assert json.loads(made.body)["prompt_cache_key"] == "k"
    chat = replace(ASK, sampling=Sampling(n=2))
    with pytest.raises(Unsupported, match="`n`"):
        DIALECT.render_request(chat, named("deepseek"))


@pytest.mark.parametrize(
    ("target", "part", "lost"),
    [
        (named("deepseek"), Image(Source(data="AA==", media_type="image/png")), "image"),
        (named("deepseek"), Audio(Source(data="AA=="), "wav"), "audio"),
        (named("mistral"), Document(Source(data="AA==", media_type="application/pdf")), "document"),
        (kit.target("grok-4"), Audio(Source(data="AA=="), "wav"), "audio"),
        (named("mistral"), Audio(Source(data="AA=="), "wav"), None),
        (kit.target("grok-4"), Image(Source(data="AA==", media_type="image/png")), None),
        (named("deepseek"), Document(Source(data="QUE=", media_type="text/plain")), None),
    ],
)
def test_what_a_provider_does_not_take_but_text(
    target: Target, part: Part, lost: str | None
) -> None:
    chat = replace(ASK, messages=(Message(Role.USER, (Text("x"), part)),))
    if lost is None:
        assert DIALECT.render_request(chat, target).body
        return
    with pytest.raises(Unsupported, match=f"`{lost}`"):
        DIALECT.render_request(chat, target)


@pytest.mark.parametrize(
    ("reasoning", "model", "lost"),
    [
        (Reasoning(budget=1024), "mistral-large-latest", ("reasoning.budget",)),
        (Reasoning(effort="low"), "mistral-large-latest", ("reasoning.effort",)),
        (Reasoning(budget=-1), "mistral-large-latest", ("reasoning.budget",)),
        (Reasoning(budget=-1), "grok-3-mini", ()),
        (Reasoning(budget=1024), "grok-3-mini", ("reasoning.budget",)),
    ],
)
def test_a_wish_to_think_is_named_by_what_the_client_said(
    reasoning: Reasoning, model: str, lost: tuple[str, ...]
) -> None:
    chat = replace(ASK, reasoning=reasoning)
    assert DIALECT.render_request(chat, kit.target(model)).dropped == lost


@pytest.mark.parametrize(
    "body",
    [
        {
            "object": "error",
            "message": {"detail": [{"type": "x", "loc": ["body", "seed"], "msg": "Not permitted"}]},
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        },
        {"detail": [{"type": "x", "loc": ["body", "seed"], "msg": "Not permitted"}]},
    ],
)
def test_lists_of_what_is_wrong_are_read(body: Any) -> None:
    error = said(422, body)
    assert (error.kind, error.status) == (Kind.INVALID_REQUEST, 422)
    assert error.message == "body.seed: Not permitted"
    assert said(404, {"detail": "Not Found"}).message == "Not Found"
