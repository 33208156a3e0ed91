"""Cohere beside chat: errors, vectors, rankings, model lists, and what is only carried."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import cohere
import httpx
import pytest
from cohere.core.api_error import ApiError

from extproc.dialects.cohere_chat import DIALECT
from extproc.dialects.openai_chat import DIALECT as OPENAI
from extproc.model.call import Target
from extproc.model.chat import Chat, ListModels, Message, Role, Text
from extproc.model.dialect import ModelCard, ReplyHead, RequestHead
from extproc.model.embed import Count, Embed, Opaque, Rerank
from extproc.model.errors import (
    BudgetSpent,
    ContextTooLong,
    GatewayError,
    Internal,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Origin,
    Overloaded,
    PermissionDenied,
    RateLimited,
    Timeout,
    Unauthenticated,
    Unsupported,
    UpstreamBad,
)
from extproc.model.reply import (
    Counted,
    Event,
    Failed,
    Finished,
    OpaqueChunk,
    Ranked,
    Units,
    Vector,
)

from . import kit_cohere as kit
from .reading import drain, failure, usage

# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "invalid request: list of documents must not be empty", InvalidRequest),
        (400, "too many tokens: size limit exceeded by 10 tokens", ContextTooLong),
        (402, "pay first", BudgetSpent),
        (404, "model 'x' not found", NotFound),
        (422, "message must be at least 1 token long", InvalidRequest),
        (429, "You are using a Trial key", RateLimited),
        (499, "request cancelled by user", InvalidRequest),
        (500, "internal server error", UpstreamBad),
        (501, "not implemented", UpstreamBad),
        (503, "busy", Overloaded),
        (504, "slow", Timeout),
    ],
)
def test_a_providers_error_keeps_its_words(
    status: int, message: str, kind: type[GatewayError]
) -> None:
    body = json.dumps({"id": "x", "message": message}).encode()
    error = failure(kit.decode(body, {**kit.JSON, "retry-after": "7"}, status))
    assert type(error) is kind
    assert (error.status, error.message, error.origin) == (status, message, Origin.PROVIDER)
    assert error.retry_after == 7


@pytest.mark.parametrize("status", [401, 403, 498])
def test_a_refused_credential_is_ours(status: int) -> None:
    error = failure(kit.decode(b'{"message":"invalid api token: sk-1"}', kit.JSON, status))
    assert (type(error), error.status) == (UpstreamBad, 502)
    assert "sk-1" not in error.message


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"message":7}', b'{"message":""}'])
def test_a_page_is_no_error(body: bytes) -> None:
    assert "without an error" in failure(kit.decode(body, {}, 500)).message


@pytest.mark.parametrize("body", [{"detail": "a"}, {"error": "a"}, {"error": {"message": "a"}}])
def test_other_shapes_are_read(body: Any) -> None:
    assert failure(kit.decode(json.dumps(body).encode(), kit.JSON, 400)).message == "a"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("no"), cohere.BadRequestError),
        (Unauthenticated("no"), cohere.UnauthorizedError),
        (PermissionDenied("no"), cohere.ForbiddenError),
        (NotFound("no"), cohere.NotFoundError),
        (InvalidRequest("no", status=422), cohere.UnprocessableEntityError),
        (RateLimited("no", retry_after=0.2), cohere.TooManyRequestsError),
        (Internal("no"), cohere.InternalServerError),
        (Overloaded("no"), cohere.ServiceUnavailableError),
        (Overloaded("no", status=529), cohere.ServiceUnavailableError),
        (Timeout("no"), cohere.GatewayTimeoutError),
        (BudgetSpent("no"), ApiError),
        (UpstreamBad("no"), ApiError),
        (MethodNotAllowed("no", allow=("POST",)), ApiError),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_the_sdk_raises_its_own_class(
    error: GatewayError, kind: type[ApiError], stream: bool
) -> None:
    reply = DIALECT.render_error(error, "gw-7")
    sdk = kit.Sdk(reply.body, reply.headers, reply.status)
    hi: Any = [{"role": "user", "content": "x"}]
    once: Any = {"max_retries": 0}
    with pytest.raises(kind) as caught:
        if stream:
            list(sdk.client.chat_stream(model="m", messages=hi, request_options=once))
        else:
            sdk.client.chat(model="m", messages=hi, request_options=once)
    assert caught.value.body == {"id": "7", "message": "no"}
    headers: Mapping[str, str] = caught.value.headers or {}
    assert headers["x-request-id"] == "gw-7"
    waits = {RateLimited: "1", Overloaded: "2"}
    assert headers.get("retry-after") == waits.get(type(error))
    assert headers.get("allow") == ("POST" if isinstance(error, MethodNotAllowed) else None)


def test_limits_are_not_told() -> None:
    assert DIALECT.read_limits(ReplyHead(200, {"x-ratelimit-limit-requests": "1"})) == ()
    assert DIALECT.write_limits(()) == {}


# --- vectors --------------------------------------------------------------------------------

EMBEDS: list[dict[str, Any]] = [
    {"model": "embed-v4.0", "texts": ["ebb", "flow"]},
    {"model": "embed-v4.0", "texts": ["ebb"], "input_type": "search_query", "truncate": "END"},
    {"model": "m", "texts": ["x"], "embedding_types": ["float"], "output_dimension": 256},
    {"model": "m", "texts": ["x"], "embedding_types": ["base64"], "input_type": "clustering"},
    {"model": "m", "texts": ["x"], "images": None, "max_tokens": None, "embedding_types": None},
]


def embed(body: Any) -> Embed:
    request = kit.ask(body, "/v2/embed")
    assert isinstance(request, Embed)
    return request


@pytest.mark.parametrize("body", EMBEDS)
def test_a_request_for_vectors_comes_back(body: dict[str, Any]) -> None:
    request = embed(body)
    assert kit.rebuilt(request) == body
    untouched = DIALECT.render_request(request, kit.target(body["model"]))
    assert untouched.body is request.raw
    assert (untouched.path, untouched.operation) == ("/v2/embed", "embed")


def test_our_member_and_the_model_are_spliced() -> None:
    raw = b'{"model":"a","sluice":{"user":"u"},"texts":["x"]}'
    request = embed(raw)
    assert request.options.user == "u"
    assert DIALECT.render_request(request, kit.target("b")).body == b'{"model":"b","texts":["x"]}'
    assert kit.rebuilt(request) == {"model": "a", "texts": ["x"]}


def test_a_foreign_request_for_vectors() -> None:
    asked = Embed("elsewhere", "m", ("a", "b"), dimensions=8, user="u", encoding="base64")
    out = kit.rendered(asked)
    assert json.loads(out.body) == {
        "model": "m", "texts": ["a", "b"], "input_type": "search_document",
        "output_dimension": 8, "embedding_types": ["float"], "truncate": "NONE",
    }  # fmt: skip
    assert out.dropped == ("user",)
    with pytest.raises(Unsupported, match="token ids"):
        kit.rendered(Embed("elsewhere", "m", ((1, 2),)))


def test_vectors_in_and_out() -> None:
    body = kit.fixture("embed.json")
    events, raw = drain(kit.decoder(kit.JSON, operation="embed"), [body])
    assert raw == body
    assert [e.values for e in events if isinstance(e, Vector)] == [(0.5, -0.25), (1.0, 0.125)]
    found = usage(events)
    assert found is not None and found.prompt == 2
    back = encoded({"model": "m", "texts": ["ebb", "flow"]}, events)
    assert json.loads(back) == {**json.loads(body), "id": "1"}
    packed = encoded({"model": "m", "texts": ["x"], "embedding_types": ["base64"]}, events)
    again = drain(kit.decoder(kit.JSON, operation="embed"), [packed])[0]
    assert [e.packed for e in again if isinstance(e, Vector)] == ["AAAAPwAAgL4=", "AACAPwAAAD4="]
    plain = encoded({"model": "m", "texts": ["ebb", "flow"]}, again)
    assert json.loads(plain)["embeddings"] == json.loads(body)["embeddings"]
    assert json.loads(encoded({"model": "m", "texts": ["x"]}, [Vector(0, packed="?"), Finished()]))
    huge = [Vector(0, (1e300,)), Finished()]
    assert encoded({"model": "m", "texts": ["x"], "embedding_types": ["base64"]}, huge)


def encoded(asked: dict[str, Any], events: list[Event]) -> bytes:
    encoder = DIALECT.encoder(embed(asked), kit.CONTEXT)
    assert encoder.head()[0] == 200
    return b"".join(encoder.feed(event) for event in events)


def test_an_openai_client_gets_coheres_vectors() -> None:
    head = RequestHead("POST", "/v1/embeddings", "", {}, "embed")
    asked = OPENAI.parse_request(head, b'{"model":"m","input":["ebb","flow"]}')
    out = DIALECT.render_request(asked, kit.target("embed-v4.0"))
    decoder = DIALECT.decoder(ReplyHead(200, kit.JSON), out)
    events, _ = drain(decoder, [kit.fixture("embed.json")])
    encoder = OPENAI.encoder(asked, kit.CONTEXT)
    reply = json.loads(b"".join(encoder.feed(event) for event in events))
    assert [one["embedding"] for one in reply["data"]] == [[0.5, -0.25], [1.0, 0.125]]
    assert reply["usage"]["prompt_tokens"] == 2


@pytest.mark.parametrize(
    "body", [{"embeddings": 7}, {"embeddings": {"float": [[None]]}}, {"message": "no"}, {}]
)
def test_vectors_that_are_none(body: Any) -> None:
    failure(kit.decode(json.dumps(body).encode(), kit.JSON, operation="embed"))
    failure(kit.decode(b"data: {}\n\n", kit.SSE, operation="embed"))


def test_vectors_without_kinds_and_errors() -> None:
    body = b'{"id":"x","embeddings":[[0.5]]}'
    assert Vector(0, (0.5,)) in kit.decode(body, kit.JSON, operation="embed")
    assert b"full" in encoded({"model": "m", "texts": ["x"]}, [Failed(Overloaded("full"))])


# --- rankings -------------------------------------------------------------------------------

RERANKS: list[tuple[str, dict[str, Any]]] = [
    ("/v2/rerank", {"model": "m", "query": "q", "documents": ["a", "b"], "top_n": 1}),
    ("/v2/rerank", {"model": "m", "query": "q", "documents": ["a"], "max_tokens_per_doc": 9}),
    ("/v1/rerank", {"model": "m", "query": "q", "documents": ["a"], "return_documents": True}),
    ("/v1/rerank", {"model": "m", "query": "q", "documents": [{"text": "a", "title": "t"}, "b"],
                    "return_documents": False, "rank_fields": ["text"]}),
]  # fmt: skip


def rerank(body: Any, path: str = "/v2/rerank") -> Rerank:
    request = kit.ask(body, path)
    assert isinstance(request, Rerank)
    return request


@pytest.mark.parametrize(("path", "body"), RERANKS)
def test_a_request_for_a_ranking_comes_back(path: str, body: dict[str, Any]) -> None:
    request = rerank(body, path)
    assert request.documents[0] == "a"
    assert kit.rebuilt(request) == body
    assert DIALECT.render_request(request, kit.target("m")).body is request.raw
    assert kit.rendered(request).path == path


def test_a_ranking_in_and_out() -> None:
    body = kit.fixture("rerank.json")
    events, raw = drain(kit.decoder(kit.JSON, operation="rerank"), [body])
    assert raw == body
    assert [e for e in events if isinstance(e, Ranked)] == [Ranked(1, 0.875), Ranked(0, 0.25)]
    found = usage(events)
    assert found is not None and found.extra.fields == {"billed_units": {"search_units": 1}}
    assert found.units == Units(search_units=1)
    asked = {"model": "m", "query": "q", "documents": ["a", "b"]}
    assert ranking(rerank(asked), events) == {**json.loads(body), "id": "1"}
    older = ranking(rerank({**asked, "return_documents": True}, "/v1/rerank"), events)
    assert [one["document"] for one in older["results"]] == [{"text": "b"}, {"text": "a"}]
    assert older["meta"]["api_version"] == {"version": "1"}
    sdk = kit.Sdk(json.dumps(older).encode(), kit.JSON)
    assert sdk.client.rerank(model="m", query="q", documents=["a"]).results[0].index == 1


def ranking(request: Rerank, events: list[Event]) -> Any:
    encoder = DIALECT.encoder(request, kit.CONTEXT)
    assert encoder.head()[0] == 200
    return json.loads(b"".join(encoder.feed(event) for event in events))


# --- the rest -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat", {"model": "command-r", "message": "Hi"}),
        ("/v2/embed", {"model": "m", "images": ["data:image/png;base64,AA"]}),
        ("/v2/embed", {"model": "m", "inputs": [{"content": []}]}),
        ("/v2/embed", {"model": "m", "texts": ["x"], "embedding_types": ["int8"]}),
        ("/v2/embed", {"model": "m", "texts": ["x"], "input_type": "image"}),
        ("/v1/rerank", {"model": "m", "query": "q", "documents": [{"title": "x"}]}),
        ("/v1/rerank", {"model": "m", "query": "q", "documents": ["x"], "rank_fields": ["a"]}),
    ],
)
def test_what_is_not_translated_is_carried(path: str, body: dict[str, Any]) -> None:
    request = kit.ask(body, path)
    assert isinstance(request, Opaque)
    assert request.model == body["model"]
    out = DIALECT.render_request(request, kit.target("other"))
    assert out.path == path
    assert json.loads(out.body) == {**body, "model": "other"}
    with pytest.raises(Unsupported):
        OPENAI.render_request(request, Target("acme", "m", "openai_chat"))
    reply = b'{"id":"x","meta":{"billed_units":{"input_tokens":4.0}}}'
    events, raw = drain(DIALECT.decoder(ReplyHead(200, kit.JSON), out), [reply])
    found = usage(events)
    assert raw == reply and found is not None and found.prompt == 4
    encoder = DIALECT.encoder(request, kit.CONTEXT)
    assert encoder.feed(OpaqueChunk(b"x")) == b"x"


def test_what_there_is_no_word_for() -> None:
    chat = Chat("elsewhere", "m", (Message(Role.USER, (Text("x"),)),))
    for request in (Count(chat), ListModels("elsewhere")):
        with pytest.raises(Unsupported):
            DIALECT.render_request(request, kit.target())
        with pytest.raises(Unsupported):
            DIALECT.encoder(request, kit.CONTEXT)
    with pytest.raises(InvalidRequest):
        DIALECT.parse_request(RequestHead("POST", "/", "", {}, "later"), b"{}")
    encoder = DIALECT.encoder(embed({"model": "m", "texts": ["x"]}), kit.CONTEXT)
    assert encoder.feed(Counted(1)) == b""


def test_model_lists_as_the_sdk_reads_them() -> None:
    cards = [ModelCard("command-a", "cohere"), ModelCard("embed/v4", "cohere")]

    def serve(request: httpx.Request) -> httpx.Response:
        wanted = [
            e
            for e in DIALECT.endpoints
            if e.method == "GET" and e.header in request.headers and "models" in e.path
        ]
        assert len(wanted) == 2
        one = request.url.path != "/v1/models"
        path = request.url.raw_path.decode().partition("?")[0]
        head = RequestHead("GET", path, "", {}, "model" if one else "models")
        asked = DIALECT.parse_request(head, b"")
        try:
            reply = DIALECT.render_models(cards, asked, "gw-1")
        except NotFound as error:
            reply = DIALECT.render_error(error, "gw-1")
        return httpx.Response(reply.status, headers=dict(reply.headers), content=reply.body)

    client = cohere.ClientV2(
        "key",
        base_url="http://cohere.test",
        httpx_client=httpx.Client(transport=httpx.MockTransport(serve)),
    )
    assert [model.name for model in client.models.list().models] == ["command-a", "embed/v4"]
    assert client.models.get("embed/v4").name == "embed/v4"
    with pytest.raises(cohere.NotFoundError):
        client.models.get("no-such")
