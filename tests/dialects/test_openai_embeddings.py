"""OpenAI embeddings: the laws, the SDK as the oracle, and what cannot leave home."""

from __future__ import annotations

import base64
import json
import math
import struct
from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse

from extproc.dialects._vectors import pack, unpack
from extproc.dialects.openai_chat import DIALECT
from extproc.model.call import CallId
from extproc.model.chat import Extra
from extproc.model.dialect import Rendered, ReplyContext, ReplyHead
from extproc.model.embed import Embed
from extproc.model.errors import Internal, InvalidRequest, Kind, Unsupported
from extproc.model.reply import Event, Failed, Finished, Started, Usage, Used, Vector
from tests.transcripts import by_id, exchanges, needed

from . import kit_chat as kit

ALL = list(exchanges("openai-embeddings.jsonl"))
ERRORS = list(exchanges("errors.jsonl", "openai-embeddings"))
CONTEXT = ReplyContext(CallId("gw-1"), "my-model", 5)
ASKED = Rendered("", b"", operation="embed")


def parse(body: Any) -> Embed:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = DIALECT.parse_request(kit.head("embed", "/v1/embeddings"), raw)
    assert isinstance(request, Embed)
    return request


def rebuilt(request: Embed) -> Any:
    out = DIALECT.render_request(replace(request, raw=b""), kit.target(request.model))
    return json.loads(out.body)


def decode(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> list[Event]:
    decoder = DIALECT.decoder(ReplyHead(status, headers or kit.JSON), ASKED)
    return kit.drain(decoder, [body[i : i + 999] for i in range(0, len(body), 999)])[0]


def encode(events: Sequence[Event], request: Embed) -> bytes:
    encoder = DIALECT.encoder(request, CONTEXT)
    assert encoder.head() == (200, {"content-type": "application/json"})
    return b"".join(encoder.feed(event) for event in events)


# --- recorded exchanges


@needed
@pytest.mark.parametrize("exchange", ALL + ERRORS, ids=by_id)
def test_the_request_comes_back(exchange: dict[str, Any]) -> None:
    request = parse(exchange["request"])
    assert rebuilt(request) == exchange["request"]
    raw = json.dumps(exchange["request"]).encode()
    assert DIALECT.render_request(parse(raw), kit.target(request.model)).body == raw


def sdk_vectors(body: str) -> list[list[float]]:
    """As the SDK reads them: base64 is float32 of the machine's own order, which is little-endian."""
    found = CreateEmbeddingResponse.construct(**json.loads(body))
    vectors: list[list[float]] = []
    for one in found.data:
        value: Any = one.embedding
        if isinstance(value, str):
            value = array("f", base64.b64decode(value)).tolist()
        vectors.append(value)
    return vectors


@needed
@pytest.mark.parametrize("exchange", ALL, ids=by_id)
def test_the_reply_says_what_the_sdk_reads(exchange: dict[str, Any]) -> None:
    body = exchange["response"]
    decoder = DIALECT.decoder(ReplyHead(200, exchange["response_headers"]), ASKED)
    events, passed = kit.drain(decoder, [body.encode()])
    assert passed == body.encode()
    vectors = [event for event in events if isinstance(event, Vector)]
    expected = sdk_vectors(body)
    assert [list(unpack(one)) for one in vectors] == expected
    assert [one.index for one in vectors] == list(range(len(expected)))
    usage = json.loads(body)["usage"]
    found = kit.usage(events)
    assert found is not None
    assert found.prompt == usage.get("prompt_tokens", usage["total_tokens"])
    assert isinstance(events[-1], Finished)
    for encoding in ("float", "base64"):
        request = replace(parse(exchange["request"]), encoding=encoding)
        again = encode(events, request).decode()
        for one, wanted in zip(sdk_vectors(again), expected, strict=True):
            assert one == pytest.approx(wanted)
        assert CreateEmbeddingResponse.construct(**json.loads(again)).model == "my-model"


@needed
@pytest.mark.parametrize("exchange", ERRORS, ids=by_id)
def test_errors_are_understood(exchange: dict[str, Any]) -> None:
    status = exchange["status"]
    events = decode(exchange["response"].encode(), status, exchange["response_headers"])
    error = kit.failure(events)
    assert error.status == (502 if status == 401 else status)
    assert error.origin.value == "provider"


# --- requests


@pytest.mark.parametrize(
    ("value", "inputs", "single"),
    [
        ("a", ("a",), True),
        (["a"], ("a",), False),
        ([1, 2], ((1, 2),), True),
        ([[1, 2], [3]], ((1, 2), (3,)), False),
        ([[]], ((),), False),
        ("", ("",), True),
    ],
)
def test_forms_of_input(value: Any, inputs: Any, single: bool) -> None:
    body = {
        "model": "m",
        "input": value,
        "encoding_format": "float",
        "dimensions": 5,
        "user": None,
        "input_type": "query",
    }
    request = parse(body)
    assert (request.inputs, request.single) == (inputs, single)
    assert (request.input_type, request.dimensions) == ("search_query", 5)
    assert rebuilt(request) == body
    plain = {"model": "m", "input": value}
    assert rebuilt(parse(plain)) == plain


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "a"}, "model"),
        ({"model": "m"}, "input"),
        ({"model": "m", "input": []}, "input"),
        ({"model": "m", "input": 1}, "input"),
        ({"model": "m", "input": [None]}, "input[0]"),
        ({"model": "m", "input": [1, "a"]}, "input[1]"),
        ({"model": "m", "input": [[1], [True]]}, "input[1][0]"),
        ({"model": "m", "input": "a", "dimensions": "b"}, "dimensions"),
        (b'{"model":"a","model":"b","input":"x"}', "model"),
    ],
)
def test_what_is_refused(body: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(body)
    assert caught.value.param == param


def test_another_name_and_our_own_member_are_spliced() -> None:
    raw = b'{ "model":"acme/m", "input":"a" ,"sluice":{"tags":["x"]},"other": 1.50}'
    request = parse(raw)
    assert request.options.tags == ("x",)
    out = DIALECT.render_request(request, kit.target("m"))
    assert out.body == b'{ "model":"m", "input":"a" ,"other": 1.50}'
    assert (out.path, out.operation) == ("/embeddings", "embed")


def test_a_foreign_request() -> None:
    request = Embed("cohere_chat", "x", ("a", "b"), dimensions=4, encoding="base64", user="u")
    out = DIALECT.render_request(request, kit.target("m"))
    assert json.loads(out.body) == {
        "model": "m",
        "input": ["a", "b"],
        "dimensions": 4,
        "encoding_format": "base64",
        "user": "u",
    }
    more = replace(
        request, input_type="search_query", extra=Extra("cohere_chat", {"truncate": "END"})
    )
    assert DIALECT.render_request(more, kit.target("m")).dropped == ("truncate", "input_type")


def test_token_ids_do_not_leave_home() -> None:
    request = Embed("other", "x", ((1, 2),), single=True)
    with pytest.raises(Unsupported, match="token ids"):
        DIALECT.render_request(request, kit.target("m"))


# --- replies

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
VECTORS = st.lists(st.lists(FLOATS, min_size=1, max_size=5).map(tuple), max_size=4)


@given(VECTORS, st.sampled_from(["float", "base64"]), st.integers(0, 99) | st.none())
@settings(max_examples=60)
def test_what_is_encoded_is_decoded_again(
    values: list[tuple[float, ...]], encoding: str, tokens: int | None
) -> None:
    """decode(encode(e)) gives the events back, each vector in the form that was asked for."""
    vectors = [Vector(i, one) for i, one in enumerate(values)]
    used = [] if tokens is None else [Used(Usage(fresh=tokens, total=tokens))]
    request = Embed("openai_chat", "m", ("x",), encoding=encoding)
    body = encode([Started("", ""), *reversed(vectors), *used, Finished()], request)
    events = decode(body)
    found = [event for event in events if isinstance(event, Vector)]
    assert [tuple(unpack(one)) for one in found] == values
    assert all((one.packed is not None) == (encoding == "base64") for one in found)
    assert [event for event in events if isinstance(event, Used)] == used
    assert events[0] == Started("", "my-model")
    assert isinstance(events[-1], Finished)


def test_packing_is_little_endian_float32() -> None:
    assert pack(Vector(0, (1.0, -2.0))) == base64.b64encode(struct.pack("<2f", 1, -2)).decode()
    assert pack(Vector(0, packed="AAA=")) == "AAA="
    assert all(
        math.isfinite(value) for value in unpack(Vector(0, packed=pack(Vector(0, (1e300,)))))
    )
    assert list(unpack(Vector(0, packed="!"))) == []


def test_trap_19_nan_in_packed_numbers_never_becomes_json() -> None:
    packed = base64.b64encode(struct.pack("<2f", math.nan, math.inf)).decode()
    events = [Started("", ""), Vector(0, packed=packed), Finished()]
    body = encode(events, Embed("other", "m", ("x",)))
    assert json.loads(body, parse_constant=pytest.fail)["data"][0]["embedding"] == [None, None]


def test_an_estimate_is_never_written_as_fact() -> None:
    events = [Started("", ""), Used(Usage(fresh=5, estimated=True)), Finished()]
    assert "usage" not in json.loads(encode(events, Embed("other", "m", ("x",))))


def test_a_failure_is_an_error_body() -> None:
    body = encode([Failed(Internal("no"))], Embed("other", "m", ("x",)))
    assert json.loads(body)["error"]["message"] == "no"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"[]",
        b'{"data":5}',
        b'{"data":[{"embedding":["a"]}]}',
        b'{"data":[{"embedding":[1e400]}]}',
        b'{"data":[5]}',
        b'{"data":[{"index":0,"embedding":[1,2]}',
        b'{"error":{"message":"m","type":"server_error"}}',
        b'data: {"a":1}\n\n',
    ],
)
def test_what_cannot_be_read_is_failed(body: bytes) -> None:
    error = kit.failure(decode(body))
    assert error.kind is Kind.UPSTREAM_BAD


def test_index_that_is_missing_is_the_place() -> None:
    body = b'{"data":[{"embedding":[1]},{"index":1,"embedding":[2]}],"usage":{"total_tokens":4}}'
    events = decode(body)
    assert [e.index for e in events if isinstance(e, Vector)] == [0, 1]
    found = kit.usage(events)
    assert found is not None
    assert (found.prompt, found.output) == (4, 0)
