"""Embeddings on Bedrock: Titan's and Cohere's bodies, and what is only carried."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import replace
from typing import Any

import pytest

from extproc.codec import aws_eventstream
from extproc.dialects.bedrock_converse import DIALECT
from extproc.dialects.bedrock_converse.words import NAME
from extproc.model.chat import Extra
from extproc.model.dialect import Rendered, ReplyHead
from extproc.model.embed import Embed, Opaque
from extproc.model.errors import Overloaded, Unsupported, UpstreamBad
from extproc.model.fields import Field
from extproc.model.reply import (
    Event,
    Failed,
    Finished,
    OpaqueChunk,
    Started,
    Usage,
    Used,
    Vector,
)
from tests.dialects import kit_bedrock as kit
from tests.dialects.reading import drain, failure

TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-v4:0"
TITAN_BODY = {"inputText": "tide", "dimensions": 256, "normalize": True}
COHERE_BODY = {"texts": ["a", "b"], "input_type": "search_query", "truncate": "END"}


def invoke(body: Any, model: str = TITAN) -> Any:
    return kit.request(body, f"/model/{model}/invoke", content_type="application/json")


def embed(*inputs: Any, **about: Any) -> Embed:
    return Embed("openai_chat", "any", inputs, **about)


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (TITAN, TITAN_BODY),
        (TITAN, {"inputText": "x", "embeddingTypes": ["float"]}),
        (COHERE, COHERE_BODY),
        (COHERE, {"texts": [], "input_type": "clustering", "output_dimension": 512}),
        (COHERE, {"texts": ["a"], "embedding_types": ["float"], "new": None}),
        ("my-embedder", TITAN_BODY),
    ],
)
def test_requests_come_back(model: str, body: Any) -> None:
    request = invoke(body, model)
    assert isinstance(request, Embed)
    assert kit.render(request, model=model).body == request.raw
    assert kit.body(replace(request, raw=b""), model=model) == body


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (TITAN, {"inputText": "x", "embeddingTypes": ["binary"]}),
        ("amazon.titan-embed-image-v1", {"inputText": "x", "inputImage": "AA"}),
        ("amazon.titan-text-express-v1", {"inputText": "x"}),
        (COHERE, {"images": ["AA"], "texts": [], "input_type": "image"}),
        (COHERE, {"texts": ["x"], "embedding_types": ["int8"]}),
        ("amazon.nova-2-multimodal-embeddings-v1:0", {"taskType": "SINGLE_EMBEDDING"}),
    ],
)
def test_other_bodies_are_carried(model: str, body: Any) -> None:
    request = invoke(body, model)
    assert isinstance(request, Opaque)
    rendered = kit.render(request, model=model)
    assert rendered.body == request.raw
    assert rendered.operation == "opaque"


def test_what_the_members_say() -> None:
    titan, cohere = invoke(TITAN_BODY), invoke({**COHERE_BODY, "output_dimension": 512}, COHERE)
    assert (titan.inputs, titan.single, titan.dimensions) == (("tide",), True, 256)
    assert (cohere.inputs, cohere.single, cohere.dimensions) == (("a", "b"), False, 512)
    assert cohere.input_type == "search_query"
    ours = invoke({**TITAN_BODY, "sluice": {"user": "u"}})
    assert ours.options.user == "u"
    assert kit.body(ours, model=TITAN) == TITAN_BODY


def test_foreign_requests() -> None:
    rendered = kit.render(embed("x", dimensions=256, input_type="search_query"), model=TITAN)
    assert rendered.path == "/model/amazon.titan-embed-text-v2%3A0/invoke"
    assert json.loads(rendered.body) == {"inputText": "x", "dimensions": 256}
    assert rendered.dropped == (Field.INPUT_TYPE,)
    rendered = kit.render(embed("x", "y", dimensions=256, user="u"), model=COHERE)
    assert json.loads(rendered.body) == {
        "texts": ["x", "y"],
        "input_type": "search_document",
        "output_dimension": 256,
    }
    assert rendered.dropped == (Field.USER,)


@pytest.mark.parametrize(
    ("request_", "model", "field"),
    [
        (embed("x", "y"), TITAN, Field.INPUT),
        (embed((1, 2)), COHERE, Field.INPUT),
        (embed("x"), "meta.llama4-v1:0", Field.MODEL),
    ],
)
def test_what_cannot_be_asked(request_: Embed, model: str, field: str) -> None:
    with pytest.raises(Unsupported) as refused:
        kit.render(request_, model=model)
    assert refused.value.param == field


def test_one_models_body_for_the_other() -> None:
    rendered = kit.render(invoke(TITAN_BODY), model=COHERE)
    assert json.loads(rendered.body) == {
        "texts": ["tide"],
        "input_type": "search_document",
        "output_dimension": 256,
    }
    assert rendered.dropped == ("normalize",)


# --- replies


def decoded(value: Any, kind: str = "embed-titan", **headers: str) -> list[Event]:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    head = ReplyHead(200, {**kit.JSON, **named})
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return drain(DIALECT.decoder(head, Rendered("", b"", operation=kind)), [raw])[0]


def test_vectors_are_read() -> None:
    counted = {"embedding": [0.5, -1], "inputTextTokenCount": 3}
    assert decoded(counted) == [
        Started("", ""),
        Vector(0, (0.5, -1.0)),
        Used(Usage(fresh=3, total=3)),
        Finished(),
    ]
    for shape in ([[1, 2], [3, 4]], {"float": [[1, 2], [3, 4]]}):
        found = decoded({"embeddings": shape}, "embed-cohere", x_amzn_bedrock_input_token_count="9")
        assert [e.values for e in found if isinstance(e, Vector)] == [(1, 2), (3, 4)]
        assert Used(Usage(fresh=9, total=9)) in found
    assert Finished() in decoded({"embedding": []})


@pytest.mark.parametrize(
    "value", [{}, [], b"<html>", {"embedding": "AA"}, {"embedding": [None]}, {"embeddings": {}}]
)
def test_replies_without_vectors_fail(value: Any) -> None:
    assert isinstance(failure(decoded(value)), UpstreamBad)


VECTORS: list[Event] = [
    Started("i", "m"),
    Vector(1, packed=base64.b64encode(struct.pack("<2f", 3, 4)).decode()),
    Vector(0, (1.0, 2.0)),
    Used(Usage(fresh=7)),
    Finished(),
]


def written(request: Embed, events: list[Event]) -> Any:
    encoder = DIALECT.encoder(request, kit.CONTEXT)
    return json.loads(b"".join(map(encoder.feed, events)))


def test_vectors_are_written_as_the_client_asked() -> None:
    assert written(invoke(TITAN_BODY), VECTORS) == {
        "embedding": [1, 2],
        "inputTextTokenCount": 7,
    }
    typed = invoke({"inputText": "x", "embeddingTypes": ["float"]})
    assert written(typed, VECTORS)["embeddingsByType"] == {"float": [1, 2]}
    assert written(invoke(COHERE_BODY, COHERE), VECTORS) == {
        "embeddings": [[1, 2], [3, 4]],
        "response_type": "embeddings_floats",
        "texts": ["a", "b"],
    }
    typed = invoke({**COHERE_BODY, "embedding_types": ["float"]}, COHERE)
    assert written(typed, VECTORS)["embeddings"] == {"float": [[1, 2], [3, 4]]}
    assert written(typed, [Started("", ""), Failed(Overloaded("full"))]) == {"message": "full"}


# --- carried replies


def carried(headers: dict[str, str], body: bytes, status: int = 200) -> tuple[list[Event], bytes]:
    rendered = Rendered("", b"", operation="opaque")
    return drain(DIALECT.decoder(ReplyHead(status, headers), rendered), [body[:9], body[9:]])


def test_a_whole_carried_reply_is_counted_by_its_headers() -> None:
    headers = {
        **kit.JSON,
        "x-amzn-bedrock-input-token-count": "5",
        "x-amzn-bedrock-output-token-count": "6",
        "x-amzn-bedrock-cache-read-input-token-count": "7",
    }
    events, raw = carried(headers, b'{"any":"thing"}')
    assert Used(Usage(fresh=5, output=6, cache_read=7)) in events
    assert (events[-1], raw) == (Finished(), b'{"any":"thing"}')


def chunk(value: Any) -> bytes:
    inner = base64.b64encode(json.dumps(value).encode()).decode()
    headers = {":event-type": "chunk", ":message-type": "event"}
    return aws_eventstream.write(headers, json.dumps({"bytes": inner, "p": "ab"}).encode())


def test_a_carried_stream_is_counted_by_its_last_chunk() -> None:
    metrics = {"inputTokenCount": 5, "outputTokenCount": 6, "invocationLatency": 7}
    body = chunk({"x": 1}) + chunk({"amazon-bedrock-invocationMetrics": metrics})
    events, raw = carried(kit.STREAM, body)
    assert raw == body
    assert events == [Started("", ""), Used(Usage(fresh=5, output=6)), Finished()]
    for odd in (chunk({"x": 1}), b"not frames at all", chunk([1])):
        assert [type(event) for event in carried(kit.STREAM, odd)[0]] == [Started, Finished]


def test_carried_errors_and_breaks() -> None:
    headers = {**kit.JSON, "x-amzn-errortype": "ThrottlingException"}
    events, _ = carried(headers, b'{"message":"slow"}', 429)
    assert failure(events).message == "slow"
    path = "/model/m/invoke-with-response-stream"
    streaming = DIALECT.encoder(kit.request(b"{}", path), kit.CONTEXT)
    assert streaming.feed(OpaqueChunk(b"abc")) == b"abc"
    broken = streaming.feed(Failed(Overloaded("full")))
    assert "full" in failure(kit.decode(broken)).message
    whole = DIALECT.encoder(invoke(b"{}", "m"), kit.CONTEXT)
    assert whole.feed(Failed(Overloaded("full"))) == b""


def test_carried_requests_stay_home() -> None:
    foreign = Opaque("openai_chat", "POST", "/images/generations", "application/json")
    with pytest.raises(Unsupported):
        kit.render(foreign)
    assert embed("x", extra=Extra(NAME, {})).extra.home(NAME) == {}
