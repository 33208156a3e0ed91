"""Ollama's embeddings, model lists, version, and errors both ways."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import ollama
import pytest

from extproc.dialects.ollama_chat import DIALECT
from extproc.model.call import CallId, Capabilities
from extproc.model.chat import ListModels
from extproc.model.dialect import ModelCard, ReplyContext, ReplyHead, RequestHead
from extproc.model.embed import Count, Embed
from extproc.model.errors import (
    ContextTooLong,
    InvalidRequest,
    NotFound,
    Overloaded,
    RateLimited,
    Unauthenticated,
    Unsupported,
    UpstreamBad,
)
from extproc.model.reply import Event, Failed, Finished, Started, Usage, Used, Vector

from . import kit_ollama as kit
from .reading import failure

EMBED = "/api/embed"


# --- embeddings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("embed", {"model": "m", "input": "one"}),
        ("embed", {"model": "m", "input": ["one", "two"], "truncate": True, "dimensions": 64}),
        ("embed", {"model": "m", "input": [], "options": {"num_ctx": 5}, "keep_alive": None}),
        ("embed", {"model": "m"}),
        ("embed", {"model": "m", "input": None, "dimensions": None}),
        ("embeddings", {"model": "m", "prompt": "one", "options": {}}),
        ("embeddings", {"model": "m", "prompt": ""}),
        ("embeddings", {"model": "m"}),
    ],
)
def test_an_embedding_request_comes_back(operation: str, body: dict[str, Any]) -> None:
    request = kit.embed(body, operation)
    again = DIALECT.render_request(replace(request, raw=b""), kit.target("m"))
    assert json.loads(again.body) == body
    untouched = DIALECT.render_request(request, kit.target("m"))
    assert (untouched.body, untouched.path) == (request.raw, "/api/" + operation)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": 1}, "input"),
        ({"input": [[1, 2]]}, "input[0]"),
        ({"input": "x", "dimensions": "8"}, "dimensions"),
        ({"input": "x", "model": ""}, "model"),
    ],
)
def test_bad_embedding_requests(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        kit.embed({"model": "m", **body})
    assert caught.value.param == param


def test_foreign_embedding_requests() -> None:
    request = Embed("elsewhere", "x", ("one", "two"), None, 64, "base64", "search_query", user="u")
    rendered = DIALECT.render_request(request, kit.target("m"))
    assert json.loads(rendered.body) == {
        "model": "m",
        "input": ["one", "two"],
        "dimensions": 64,
        "truncate": False,
    }
    assert (rendered.path, rendered.dropped) == (EMBED, ("input_type", "user"))
    single = DIALECT.render_request(Embed("elsewhere", "x", ("one",), single=True), kit.target("m"))
    assert json.loads(single.body)["input"] == "one"
    with pytest.raises(Unsupported):
        DIALECT.render_request(Embed("elsewhere", "x", ((1, 2),)), kit.target("m"))


def vectors(request: Embed, events: list[Event]) -> Any:
    encoder = DIALECT.encoder(request, ReplyContext(CallId("gw-1"), "mine", 0))
    assert encoder.head()[0] == 200
    return json.loads(b"".join(encoder.feed(event) for event in events))


def test_vectors_both_ways() -> None:
    events = kit.decode(kit.fixture("embed.json"), kit.JSON, path=EMBED)
    assert events == [
        Started("", "all-minilm"),
        Vector(0, (0.5, -0.25)),
        Vector(1, (1, 0)),
        Used(Usage(fresh=6)),
        Finished(),
    ]
    said = vectors(kit.embed({"model": "m", "input": ["a", "b"]}), events)
    assert said == {"model": "mine", "embeddings": [[0.5, -0.25], [1, 0]], "prompt_eval_count": 6}
    assert ollama.EmbedResponse(**said).embeddings == [[0.5, -0.25], [1, 0]]


def test_the_older_endpoint() -> None:
    old = kit.decode(b'{"embedding":[0.5,1]}', kit.JSON, path="/api/embeddings")
    assert old == [Started("", ""), Vector(0, (0.5, 1)), Finished()]
    said = vectors(kit.embed({"model": "m", "prompt": "a"}, "embeddings"), old)
    assert ollama.EmbeddingsResponse(**said).embedding == [0.5, 1]
    assert kit.decode(b'{"embedding":[]}', path="/api/embeddings")[1:] == [Finished()]


def test_packed_vectors_are_unpacked_and_put_in_order() -> None:
    packed = base64.b64encode(struct.pack("<2f", 0.5, -2.0)).decode()
    events: list[Event] = [Vector(1, (3.0,)), Vector(0, packed=packed), Finished()]
    said = vectors(kit.embed({"model": "m", "input": ["a", "b"]}), events)
    assert said["embeddings"] == [[0.5, -2.0], [3.0]]


@pytest.mark.parametrize(
    "body", [b"{}", b'{"embeddings":[["x"]]}', b'{"embeddings":3}', b'{"error":"no"}', b"[", b""]
)
def test_vectors_that_are_none(body: bytes) -> None:
    assert failure(kit.decode(body, kit.JSON, path=EMBED)).status == 502


# --- models ---------------------------------------------------------------------------------

CAN = Capabilities(tools=True, vision=False, reasoning=True, context=8192)
CARDS = [ModelCard("llama3.2", "acme", 1700000000), ModelCard("qwen3:8b", "zen", capabilities=CAN)]
EMBEDS = ModelCard("nomic-embed-text", "zen", capabilities=Capabilities(embedding=True))


def listed(
    path: str, body: bytes = b"", method: str = "GET", more: Sequence[ModelCard] = ()
) -> tuple[int, Any]:
    operation = next(e.operation for e in DIALECT.endpoints if e.path == path)
    request = DIALECT.parse_request(RequestHead(method, path, "", {}, operation), body)
    assert isinstance(request, ListModels)
    reply = DIALECT.render_models([*CARDS, *more], request, "gw-1")
    return reply.status, json.loads(reply.body)


def test_model_lists() -> None:
    status, body = listed("/api/tags")
    assert status == 200
    models = ollama.ListResponse(**body).models
    assert [model.model for model in models] == ["llama3.2", "qwen3:8b"]
    assert models[0].modified_at is not None and models[0].modified_at.year == 2023
    assert len(models[0].digest or "") == 64


@pytest.mark.parametrize("name", ["llama3.2", "llama3.2:latest"])
@pytest.mark.parametrize("field", ["model", "name"])
def test_one_model(name: str, field: str) -> None:
    _, body = listed("/api/show", json.dumps({field: name}).encode(), "POST")
    shown = ollama.ShowResponse(**body)
    assert shown.modelinfo == {}
    assert shown.capabilities == ["completion"]


@pytest.mark.parametrize(
    ("name", "can", "info"),
    [
        (
            "qwen3:8b",
            ["completion", "tools", "thinking"],
            {"general.architecture": "zen", "zen.context_length": 8192},
        ),
        ("nomic-embed-text", ["embedding"], {}),
    ],
)
def test_what_a_model_can_do_is_told(name: str, can: list[str], info: dict[str, Any]) -> None:
    _, body = listed("/api/show", json.dumps({"model": name}).encode(), "POST", [EMBEDS])
    shown = ollama.ShowResponse(**body)
    assert (shown.capabilities, shown.modelinfo) == (can, info)


def test_no_such_model() -> None:
    with pytest.raises(NotFound, match="model 'x' not found"):
        listed("/api/show", b'{"model":"x"}', "POST")
    with pytest.raises(InvalidRequest):
        listed("/api/show", b"{}", "POST")


def test_the_version() -> None:
    assert set(listed("/api/version")[1]) == {"version"}


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error":"invalid options"}', InvalidRequest),
        (404, b'{"error":"model \'x\' not found"}', NotFound),
        (429, b'{"error":"slow down"}', RateLimited),
        (503, b'{"error":"server busy, please try again"}', Overloaded),
        (500, b'{"error":"the input length exceeds the context length"}', ContextTooLong),
        (
            400,
            b'{"error":"prompt too long; exceeded max context length by 5 tokens"}',
            ContextTooLong,
        ),
        (500, b'{"error":"model runner has stopped"}', UpstreamBad),
        (502, b"<html>", UpstreamBad),
        (404, b"404 page not found", UpstreamBad),
        (401, b'{"error":"unauthorized","signin_url":"https://x/y?key=1"}', UpstreamBad),
        (500, b"", UpstreamBad),
    ],
)
def test_what_a_provider_says(status: int, body: bytes, kind: type[Exception]) -> None:
    error = failure(kit.decode(body, kit.JSON, status))
    assert type(error) is kind
    assert error.origin.value == "provider"
    if body.startswith(b"{") and status != 401:
        assert error.message == json.loads(body)["error"]
    else:
        assert "signin" not in error.message and "<html" not in error.message


def test_retry_after_is_read() -> None:
    error = failure(kit.decode(b'{"error":"x"}', {**kit.JSON, "retry-after": "3"}, 429))
    assert error.retry_after == 3
    assert DIALECT.read_limits(ReplyHead(429, {})) == ()
    assert DIALECT.write_limits(()) == {}


def test_a_status_within_a_stream_counts() -> None:
    line = b'{"error":"too many concurrent requests","status_code":429}\n'
    assert isinstance(failure(kit.decode(line)), RateLimited)


@pytest.mark.parametrize(
    "error",
    [Unauthenticated("no key"), NotFound("no model"), RateLimited("slow", retry_after=1.2)],
)
def test_the_sdk_raises_what_we_say(error: Any) -> None:
    wire = DIALECT.render_error(error, "gw-1")

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(wire.status, headers=dict(wire.headers), content=wire.body)

    client = ollama.Client("http://gateway", transport=httpx.MockTransport(answer))
    for stream in (True, False):
        with pytest.raises(ollama.ResponseError) as caught:
            said: Any = client.chat("m", [{"role": "user", "content": "x"}], stream=stream)  # type: ignore[call-overload]
            list(said)
        assert (caught.value.status_code, caught.value.error) == (error.status, error.message)
    if error.retry_after:
        assert wire.headers["retry-after"] == "2"


def test_the_sdk_streams_what_we_write_and_raises_what_breaks() -> None:
    good = kit.encode(kit.decode(kit.fixture("thinking_tools.ndjson")))
    broken = kit.encode([Started("", "m"), Failed(Overloaded("full"))])
    bodies = iter([good, broken])

    def answer(request: httpx.Request) -> httpx.Response:
        sent = json.loads(request.content)
        assert kit.rebuilt(kit.parse(request.content)) == sent
        return httpx.Response(200, content=next(bodies))

    client = ollama.Client("http://gateway", transport=httpx.MockTransport(answer))
    asked = [ollama.Message(role="user", content="x", images=[ollama.Image(value=b"abc")])]
    parts = list(client.chat("m", asked, stream=True, think="low", options={"seed": 1}))
    assert parts[-1].done_reason == "stop"
    assert len([call for part in parts for call in part.message.tool_calls or []]) == 2
    with pytest.raises(ollama.ResponseError, match="full"):
        list(client.chat("m", asked, stream=True))


def test_what_it_cannot_do_it_says() -> None:
    count = Count(kit.parse({"model": "m", "messages": []}))
    with pytest.raises(Unsupported):
        DIALECT.render_request(count, kit.target())
    with pytest.raises(Unsupported):
        DIALECT.encoder(count, ReplyContext(CallId("gw-1"), "m", 0))
