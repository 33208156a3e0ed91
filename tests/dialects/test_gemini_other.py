"""The Gemini dialect beside chat: errors both ways, embeddings, counts, lists, what is only carried."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import replace
from typing import Any

import pytest
from google.genai import errors as sdk_errors

from extproc.dialects.gemini_generate import DIALECT
from extproc.dialects.openai_chat import DIALECT as OPENAI
from extproc.model.call import CallId, Target
from extproc.model.chat import ListModels
from extproc.model.dialect import ModelCard, Rendered, ReplyContext, ReplyHead, RequestHead
from extproc.model.embed import Count, Embed, Opaque
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
    TooLarge,
    Unauthenticated,
    Unsupported,
    UpstreamBad,
)
from extproc.model.reply import (
    Counted,
    Event,
    Failed,
    Finished,
    Started,
    Usage,
    Used,
    Vector,
)

from . import kit_gemini as kit
from .reading import drain, failure, usage

MODEL = "/v1beta/models/gemini-embedding-001"
VERTEX = "/v1/projects/p/locations/l/publishers/google/models/text-embedding-005"
CONTEXT = ReplyContext(CallId("gw-1"), "m", 0)


# --- errors: what a provider said


def said(status: int, body: Any, **headers: str) -> GatewayError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return failure(kit.decode(raw, {**kit.JSON, **named}, status, path=kit.GENERATE))


def google(code: int, word: str, message: str = "No.", *details: Any) -> Any:
    return {"error": {"code": code, "message": message, "status": word, "details": list(details)}}


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "46.5s"}
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}


@pytest.mark.parametrize(
    ("status", "word", "kind"),
    [
        (400, "INVALID_ARGUMENT", InvalidRequest),
        (400, "FAILED_PRECONDITION", InvalidRequest),
        (404, "NOT_FOUND", NotFound),
        (429, "RESOURCE_EXHAUSTED", RateLimited),
        (500, "INTERNAL", UpstreamBad),
        (503, "UNAVAILABLE", Overloaded),
        (504, "DEADLINE_EXCEEDED", Timeout),
    ],
)
def test_statuses(status: int, word: str, kind: type[GatewayError]) -> None:
    for body in (google(status, word), [google(status, word)]):
        error = said(status, body)
        assert type(error) is kind
        assert (error.status, error.code, error.message) == (status, word, "No.")
        assert error.origin is Origin.PROVIDER


def test_a_refused_credential_is_ours() -> None:
    for status, body in (
        (401, google(401, "UNAUTHENTICATED", "the key AIza123")),
        (403, google(403, "PERMISSION_DENIED")),
        (400, google(400, "INVALID_ARGUMENT", "API key not valid.", BAD_KEY)),
    ):
        error = said(status, body)
        assert isinstance(error, UpstreamBad)
        assert error.status == 502
        assert "AIza" not in error.message


def test_when_to_come_back() -> None:
    assert said(429, google(429, "RESOURCE_EXHAUSTED", "Slow.", RETRY)).retry_after == 46.5
    assert said(429, google(429, "RESOURCE_EXHAUSTED"), retry_after="3").retry_after == 3
    odd = {**RETRY, "retryDelay": "soon"}
    assert said(429, google(429, "RESOURCE_EXHAUSTED", "Slow.", odd)).retry_after is None


def test_a_prompt_that_is_too_long() -> None:
    message = "The input token count (2000000) exceeds the maximum number of tokens allowed."
    assert isinstance(said(400, google(400, "INVALID_ARGUMENT", message)), ContextTooLong)


@pytest.mark.parametrize("body", [b"", b"<html>", b"text", b"[]", b"{}", b'{"error":7}', b"null"])
def test_unreadable_errors_keep_their_status(body: bytes) -> None:
    error = said(503, body)
    assert isinstance(error, Overloaded)
    assert "503" in error.message


# --- errors: what we say

OURS: list[tuple[GatewayError, int, str]] = [
    (InvalidRequest("x", param="contents[0]"), 400, "INVALID_ARGUMENT"),
    (Unsupported("x"), 400, "INVALID_ARGUMENT"),
    (Unauthenticated("x"), 401, "UNAUTHENTICATED"),
    (BudgetSpent("x"), 429, "RESOURCE_EXHAUSTED"),
    (PermissionDenied("x"), 403, "PERMISSION_DENIED"),
    (NotFound("x"), 404, "NOT_FOUND"),
    (MethodNotAllowed("x", allow=("GET",)), 405, "UNIMPLEMENTED"),
    (TooLarge("x"), 413, "INVALID_ARGUMENT"),
    (RateLimited("x", retry_after=2.5), 429, "RESOURCE_EXHAUSTED"),
    (Internal("x"), 500, "INTERNAL"),
    (UpstreamBad("x"), 502, "INTERNAL"),
    (Overloaded("x", status=529, retry_after=4), 503, "UNAVAILABLE"),
    (Timeout("x"), 504, "DEADLINE_EXCEEDED"),
]


@pytest.mark.parametrize(("error", "status", "word"), OURS)
def test_the_sdk_raises_its_own_class(error: GatewayError, status: int, word: str) -> None:
    reply = DIALECT.render_error(error, "gw-7")
    assert reply.status == status
    client = kit.sdk(reply.body, reply.status)
    kind = sdk_errors.ClientError if status < 500 else sdk_errors.ServerError
    with pytest.raises(kind) as caught:
        client.models.generate_content(model="m", contents="x")
    assert (caught.value.code, caught.value.status, caught.value.message) == (status, word, "x")
    again = said(status, reply.body)
    if status not in (401, 403):
        assert (again.status, again.message, again.retry_after) == (status, "x", error.retry_after)


def test_an_error_says_all_there_is() -> None:
    error = RateLimited("Slow.", param="contents", code="too_fast", retry_after=2.5)
    reply = DIALECT.render_error(error, "gw-7")
    assert reply.headers["retry-after"] == "3"
    details = {
        one["@type"].rpartition(".")[2]: one for one in json.loads(reply.body)["error"]["details"]
    }
    assert details["ErrorInfo"]["reason"] == "TOO_FAST"
    assert details["RequestInfo"]["requestId"] == "gw-7"
    assert details["RetryInfo"]["retryDelay"] == "2.5s"
    assert details["BadRequest"]["fieldViolations"][0]["field"] == "contents"


# --- embeddings


def embed(body: Any, verb: str = "batchEmbedContents", path: str = MODEL) -> Embed:
    request = kit.ask(body, f"{path}:{verb}")
    assert isinstance(request, Embed)
    return request


def content(*texts: str) -> Any:
    return {"parts": [{"text": text} for text in texts]}


ONE = {"content": content("a", "b"), "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 4}
MANY = {
    "requests": [
        {"model": "models/gemini-embedding-001", **ONE},
        {"model": "models/gemini-embedding-001", **ONE, "title": "t"},
    ]
}
MIXED = {"requests": [{**MANY["requests"][0], "taskType": "CLUSTERING"}, MANY["requests"][1]]}
PREDICT = {
    "instances": [{"content": "a", "task_type": "CLASSIFICATION"}, {"content": "b"}],
    "parameters": {"outputDimensionality": 8, "autoTruncate": False},
}


@pytest.mark.parametrize(
    ("verb", "body", "path", "to"),
    [
        ("embedContent", ONE, MODEL, kit.target("gemini-embedding-001")),
        ("batchEmbedContents", MANY, MODEL, kit.target("gemini-embedding-001")),
        ("batchEmbedContents", MIXED, MODEL, kit.target("gemini-embedding-001")),
        ("predict", PREDICT, VERTEX, kit.vertex("text-embedding-005")),
    ],
)
def test_embeddings_come_back(verb: str, body: Any, path: str, to: Target) -> None:
    request = embed(body, verb, path)
    sent = DIALECT.render_request(request, to)
    assert sent.body is request.raw
    assert sent.path.endswith(f"{to.model}:{verb}")
    rebuilt = DIALECT.render_request(replace(request, raw=b""), to)
    assert json.loads(rebuilt.body) == body


def test_what_is_canonical_of_embeddings() -> None:
    one = embed(ONE, "embedContent")
    assert (one.inputs, one.single, one.dimensions, one.input_type) == (
        ("ab",),
        True,
        4,
        "search_query",
    )
    assert embed(MIXED).input_type is None
    assert embed(PREDICT, "predict", VERTEX).dimensions == 8
    ours = embed({**MANY, "sluice": {"tags": ["a"]}})
    sent = DIALECT.render_request(ours, kit.target("gemini-embedding-001"))
    assert json.loads(sent.body) == MANY
    renamed = DIALECT.render_request(ours, kit.target("other"))
    assert json.loads(renamed.body)["requests"][1]["model"] == "models/other"


def test_a_content_of_several_texts_is_one_input_everywhere() -> None:
    """Google makes one vector of it, so no other provider is asked for two."""
    asked = embed({"requests": [{"model": "m", "content": content("a", "b")}, ONE]})
    sent = OPENAI.render_request(asked, Target("acme", "e", "openai_chat"))
    assert json.loads(sent.body)["input"] == ["ab", "ab"]


def test_more_than_text_is_only_carried() -> None:
    picture = {"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}}
    request = kit.ask(picture, f"{MODEL}:embedContent")
    assert isinstance(request, Opaque)
    assert request.model == "gemini-embedding-001"


OTHERS = Embed("openai_chat", "m", ("a", "b"), dimensions=3, input_type="clustering", user="u")


def test_embeddings_of_others() -> None:
    sent = DIALECT.render_request(OTHERS, kit.target("gemini-embedding-001"))
    assert sent.path == f"{MODEL}:batchEmbedContents"
    one = {
        "content": content("a"),
        "taskType": "CLUSTERING",
        "outputDimensionality": 3,
        "model": "models/gemini-embedding-001",
    }
    assert json.loads(sent.body) == {"requests": [one, {**one, "content": content("b")}]}
    assert sent.dropped == ("user",)
    older = DIALECT.render_request(OTHERS, kit.vertex("text-embedding-005"))
    assert json.loads(older.body) == {
        "instances": [
            {"content": "a", "task_type": "CLUSTERING"},
            {"content": "b", "task_type": "CLUSTERING"},
        ],
        "parameters": {"outputDimensionality": 3},
    }
    with pytest.raises(Unsupported, match="one text"):
        DIALECT.render_request(OTHERS, kit.vertex("gemini-embedding-2"))
    single = DIALECT.render_request(
        replace(OTHERS, inputs=("a",), single=True), kit.vertex("gemini-embedding-2")
    )
    assert single.path.endswith("gemini-embedding-2:embedContent")
    with pytest.raises(Unsupported, match="tokens"):
        DIALECT.render_request(replace(OTHERS, inputs=((1, 2),)), kit.target())


@pytest.mark.parametrize(
    ("verb", "body", "counted"),
    [
        ("embedContent", {"embedding": {"values": [0.5, -1]}}, None),
        ("batchEmbedContents", {"embeddings": [{"values": [0.5, -1]}]}, None),
        (
            "predict",
            {
                "predictions": [
                    {"embeddings": {"values": [0.5, -1], "statistics": {"token_count": 3.0}}}
                ]
            },
            3,
        ),
    ],
)
def test_vectors_both_ways(verb: str, body: Any, counted: int | None) -> None:
    path = f"{MODEL}:{verb}"
    events = kit.decode(json.dumps(body).encode(), kit.JSON, path=path)
    assert events[:2] == [Started("", ""), Vector(0, (0.5, -1))]
    assert isinstance(events[-1], Finished)
    used = usage(events)
    assert (None if used is None else used.fresh) == counted
    request = PREDICT if verb == "predict" else ONE if verb == "embedContent" else MANY
    encoder = DIALECT.encoder(embed(request, verb), CONTEXT)
    again = b"".join(encoder.feed(event) for event in events)
    assert kit.decode(again, kit.JSON, path=path)[:2] == events[:2]


def test_a_packed_vector_that_is_none_ends_no_reply() -> None:
    encoder = DIALECT.encoder(embed(MANY), CONTEXT)
    events: list[Event] = [Started("", ""), Vector(0, packed="no base64!"), Finished()]
    reply = json.loads(b"".join(encoder.feed(event) for event in events))
    assert reply["embeddings"] == [{"values": []}]


def test_packed_vectors_are_unpacked() -> None:
    packed = base64.b64encode(struct.pack("<2f", 0.5, -1.0)).decode()
    encoder = DIALECT.encoder(embed(MANY), CONTEXT)
    events: list[Event] = [
        Started("", ""),
        Vector(1, (2.0,)),
        Vector(0, packed=packed),
        Used(Usage(fresh=4)),
        Finished(),
    ]
    reply = json.loads(b"".join(encoder.feed(event) for event in events))
    assert reply["embeddings"] == [{"values": [0.5, -1.0]}, {"values": [2.0]}]
    assert reply["usageMetadata"]["promptTokenCount"] == 4


@pytest.mark.parametrize("body", [b"{}", b'{"embedding":{}}', b"[", b'{"embeddings":[1]}'])
def test_bad_vectors_fail(body: bytes) -> None:
    events = kit.decode(body, kit.JSON, path=f"{MODEL}:embedContent")
    assert isinstance(events[-1], Failed)


# --- counting


def test_counts_both_ways() -> None:
    """trap 60."""
    path = f"{MODEL}:countTokens"
    assert kit.decode(b'{"totalTokens":7}', kit.JSON, path=path)[1] == Counted(7)
    assert kit.decode(b"{}", kit.JSON, path=path)[1] == Counted(0)
    assert isinstance(kit.decode(b'{"totalTokens":"x"}', kit.JSON, path=path)[-1], Failed)
    request = kit.ask({"contents": [content("x")]}, path)
    assert isinstance(request, Count)
    encoder = DIALECT.encoder(request, CONTEXT)
    body = b"".join(encoder.feed(e) for e in (Started("", ""), Counted(9), Finished()))
    client = kit.sdk(body)
    assert client.models.count_tokens(model="m", contents="x").total_tokens == 9


# --- lists, endpoints, what is carried


def test_model_lists() -> None:
    cards = [ModelCard("gemini-2.5-flash", "acme"), ModelCard("org/other", "acme")]
    listed = DIALECT.render_models(cards, ListModels("gemini_generate"), "gw-1")
    names = [model.name for model in kit.sdk(listed.body).models.list()]
    assert names == ["models/gemini-2.5-flash", "models/org/other"]
    head = RequestHead("GET", "/v1beta/models/org/other", "", {}, "model")
    one = DIALECT.parse_request(head, b"")
    reply = DIALECT.render_models(cards, one, "gw-1")
    assert kit.sdk(reply.body).models.get(model="x").name == "models/org/other"
    with pytest.raises(NotFound):
        DIALECT.render_models(cards, ListModels("gemini_generate", "none"), "gw-1")


def test_lists_with_openais_path_need_googles_header() -> None:
    shared = [e for e in DIALECT.endpoints if e.path.startswith("/v1/models") and e.method == "GET"]
    assert [e.header for e in shared] == ["x-goog-api-key"] * 2
    keys = [(e.method, e.path, e.header) for e in DIALECT.endpoints]
    assert len(set(keys)) == len(keys)


def carried(method: str, path: str, body: bytes = b"{}", operation: str = "opaque") -> Opaque:
    path, _, query = path.partition("?")
    head = RequestHead(method, path, query, kit.JSON, operation)
    request = DIALECT.parse_request(head, body)
    assert isinstance(request, Opaque)
    return request


def test_what_is_only_carried() -> None:
    caches = carried("GET", "/v1beta/cachedContents?pageSize=3", b"")
    sent = DIALECT.render_request(caches, kit.target())
    assert (sent.method, sent.path) == ("GET", "/v1beta/cachedContents?pageSize=3")
    method = carried("POST", "/v1beta/models/veo-3:predictLongRunning?x=1", b'{"a":1}', "method")
    sent = DIALECT.render_request(method, kit.target("veo-3.1"))
    assert sent.path == "/v1beta/models/veo-3.1:predictLongRunning?x=1"
    assert sent.body == b'{"a":1}'
    there = carried("GET", "/v1/projects/theirs/locations/us/operations/7", b"")
    sent = DIALECT.render_request(there, kit.vertex())
    assert sent.path == "/v1/projects/acme-1/locations/europe-west4/operations/7"
    with pytest.raises(Unsupported):
        DIALECT.render_request(there, kit.target())
    with pytest.raises(Unsupported):
        DIALECT.render_request(caches, kit.vertex())
    with pytest.raises(Unsupported):
        DIALECT.render_request(replace(caches, dialect="openai_chat"), kit.target())
    with pytest.raises(InvalidRequest):
        carried("GET", "/v1beta/files/%2e%2e/x", b"")


def test_carried_replies_pass_and_are_metered() -> None:
    head = ReplyHead(200, kit.JSON)
    body = b'{"x":1,"usageMetadata":{"promptTokenCount":4,"totalTokenCount":4}}'
    decoder = DIALECT.decoder(head, Rendered("/v1beta/x", b"", operation="opaque"))
    events, passed = drain(decoder, [body])
    assert passed == body
    used = usage(events)
    assert used is not None
    assert used.prompt == 4


def test_predictions_that_are_no_vectors_are_carried() -> None:
    picture = carried("POST", f"{VERTEX}:predict", b'{"instances":[{"prompt":"a sea"}]}', "method")
    sent = DIALECT.render_request(picture, kit.vertex("imagen-4"))
    assert sent.path.endswith("/publishers/google/models/imagen-4:predict")
    assert sent.operation == "opaque"


def test_limits_are_nobodys() -> None:
    assert DIALECT.read_limits(ReplyHead(200, {"x-ratelimit-limit-requests": "3"})) == ()
    assert DIALECT.write_limits(()) == {}
