"""Protobuf on one side, our messages on the other."""

from __future__ import annotations

import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given
from hypothesis import strategies as st

from extproc.flow.messages import (
    CONTINUE,
    Continue,
    Mode,
    Reply,
    RequestBody,
    RequestHead,
    ResponseBody,
    ResponseHead,
    Route,
)
from extproc.model.call import CallId
from extproc.wire.pb import ext_proc_pb2 as pb
from extproc.wire.translate import Phase, Unexpected, incoming, outgoing, piece

CALL = CallId("gw-1")


def headers(**pairs: bytes) -> pb.HttpHeaders:
    values = [pb.HeaderValue(key=k.replace("_", "-"), raw_value=v) for k, v in pairs.items()]
    return pb.HttpHeaders(headers=pb.HeaderMap(headers=values))


def told(request: pb.ProcessingRequest) -> tuple[Phase, object]:
    return incoming(request, CALL, "127.0.0.1")


def answer(message: Continue | Reply, phase: Phase) -> pb.ProcessingResponse:
    return pb.ProcessingResponse.FromString(outgoing(message, phase))


def test_request_head() -> None:
    phase, message = told(pb.ProcessingRequest(request_headers=headers(host=b"a", x_b=b"\xe9")))
    assert phase is Phase.REQUEST_HEADERS
    assert message == RequestHead(CALL, "127.0.0.1", {"host": "a", "x-b": "\xe9"}, False)


def test_repeated_headers_are_joined() -> None:
    values = [pb.HeaderValue(key="a", raw_value=v) for v in (b"1", b"2", b"")]
    request = pb.HttpHeaders(headers=pb.HeaderMap(headers=values), end_of_stream=True)
    _, message = told(pb.ProcessingRequest(request_headers=request))
    assert message == RequestHead(CALL, "127.0.0.1", {"a": "1, 2, "}, True)


def test_response_head_takes_details_from_attributes() -> None:
    attributes = Struct()
    attributes.update({"xds.cluster_name": "any", "response.code_details": "via_upstream"})
    request = pb.ProcessingRequest(response_headers=headers(a=b"b"))
    request.attributes["envoy.filters.http.ext_proc"].CopyFrom(attributes)
    assert told(request) == (
        Phase.RESPONSE_HEADERS,
        ResponseHead({"a": "b"}, False, "via_upstream"),
    )


def test_a_reply_without_attributes_is_not_taken_for_a_providers() -> None:
    _, message = told(pb.ProcessingRequest(response_headers=headers(a=b"b")))
    assert isinstance(message, ResponseHead)
    assert message.details != "via_upstream"


def test_bodies() -> None:
    body = pb.HttpBody(body=b"x", end_of_stream=True)
    assert told(pb.ProcessingRequest(request_body=body)) == (
        Phase.REQUEST_BODY,
        RequestBody(b"x"),
    )
    assert told(pb.ProcessingRequest(response_body=pb.HttpBody(body=b"x")))[1] == ResponseBody(
        b"x", False
    )


@pytest.mark.parametrize(
    "request_",
    [pb.ProcessingRequest(), pb.ProcessingRequest(request_trailers=pb.HttpTrailers())],
)
def test_what_we_never_ask_for_is_refused(request_: pb.ProcessingRequest) -> None:
    with pytest.raises(Unexpected):
        told(request_)


@pytest.mark.parametrize("phase", list(Phase))
def test_plain_continue_names_the_phase(phase: Phase) -> None:
    response = answer(CONTINUE, phase)
    assert response.WhichOneof("response") == phase.value
    assert not response.HasField("mode_override")


@pytest.mark.parametrize(
    ("mode", "body_mode"),
    [
        (Mode.REQUEST, pb.ProcessingMode.NONE),
        (Mode.WHOLE, pb.ProcessingMode.BUFFERED),
        (Mode.BOUNDED, pb.ProcessingMode.BUFFERED_PARTIAL),
        (Mode.PIECES, pb.ProcessingMode.STREAMED),
    ],
)
def test_mode_override_states_every_field(mode: Mode, body_mode: int) -> None:
    override = answer(Continue(mode=mode), Phase.RESPONSE_HEADERS).mode_override
    assert override.response_body_mode == body_mode
    assert override.request_header_mode == pb.ProcessingMode.SEND
    assert override.request_body_mode == pb.ProcessingMode.BUFFERED
    assert override.response_header_mode == pb.ProcessingMode.SEND
    assert override.response_trailer_mode == pb.ProcessingMode.SKIP


def test_route_becomes_metadata_and_clears_the_route_cache() -> None:
    message = Continue(
        set=((":path", "/v1/x"),),
        remove=("cookie",),
        body=b"{}",
        route=Route(("provider-a", "provider-b"), (("model", "m"),)),
    )
    response = answer(message, Phase.REQUEST_BODY)
    common = response.request_body.response
    assert common.clear_route_cache
    assert common.body_mutation.body == b"{}"
    assert [(h.header.key, h.header.raw_value) for h in common.header_mutation.set_headers] == [
        (":path", b"/v1/x")
    ]
    assert list(common.header_mutation.remove_headers) == ["cookie"]
    route = response.dynamic_metadata["sluice.route"]
    assert isinstance(route, Struct)
    groups = [dict(g) for g in route["priority_groups"]]  # type: ignore[union-attr]
    assert [g["clusters"][0]["cluster_name"] for g in groups] == ["provider-a", "provider-b"]
    assert response.dynamic_metadata["sluice.plan"]["model"] == "m"  # type: ignore[index]


def test_an_empty_body_is_a_change() -> None:
    response = answer(Continue(body=b""), Phase.RESPONSE_BODY)
    assert response.response_body.response.body_mutation.WhichOneof("mutation") == "body"


def test_reply_is_marked_as_ours() -> None:
    message = Reply(401, {"content-type": "application/json"}, b"{}")
    response = answer(message, Phase.REQUEST_HEADERS)
    assert response.immediate_response.status.code == 401
    assert response.immediate_response.body == b"{}"
    assert response.dynamic_metadata["sluice.plan"]["answered"] == "1"  # type: ignore[index]


NAMES = st.text("abcdefgh-:", min_size=1, max_size=12)
VALUES = st.text(st.characters(codec="latin-1"), max_size=300)
CONTINUES = st.builds(
    Continue,
    set=st.lists(st.tuples(NAMES, VALUES), max_size=20).map(tuple),
    remove=st.lists(NAMES, max_size=20).map(tuple),
    body=st.none() | st.integers(0, 70_000).map(lambda size: b"x" * size),
    mode=st.none() | st.sampled_from(Mode),
    route=st.none() | st.just(Route(("provider-a",), (("model", "m"),))),
)


@given(CONTINUES, st.sampled_from(Phase))
def test_what_is_written_by_hand_is_what_protobuf_writes(answer: Continue, phase: Phase) -> None:
    got = pb.ProcessingResponse.FromString(outgoing(answer, phase))
    common = getattr(got, phase.value).response
    sent = [(h.header.key, h.header.raw_value) for h in common.header_mutation.set_headers]
    assert sent == [(name, value.encode("latin-1")) for name, value in answer.set]
    assert tuple(common.header_mutation.remove_headers) == answer.remove
    assert common.HasField("body_mutation") == (answer.body is not None)
    assert common.body_mutation.body == (answer.body or b"")
    assert common.clear_route_cache == (answer.route is not None)
    assert got.HasField("mode_override") == (answer.mode is not None)
    again = pb.ProcessingResponse.FromString(got.SerializeToString())
    assert again == got
    assert len(UnknownFieldSet(got)) == 0


@given(st.binary(max_size=300), st.booleans())
def test_a_piece_read_by_hand_is_what_protobuf_reads(body: bytes, end: bool) -> None:
    message = pb.ProcessingRequest(response_body=pb.HttpBody(body=body, end_of_stream=end))
    assert piece(message.SerializeToString()) == ResponseBody(body, end)


def test_a_piece_larger_than_one_byte_can_count() -> None:
    body = bytes(70_000)
    message = pb.ProcessingRequest(response_body=pb.HttpBody(body=body))
    assert piece(message.SerializeToString()) == ResponseBody(body, False)


@given(
    st.one_of(
        st.binary(max_size=12).map(lambda rest: b"\x2a" + rest),
        st.binary(max_size=8),
        st.builds(
            lambda body, cut: pb.ProcessingRequest(
                response_body=pb.HttpBody(body=body, end_of_stream=True)
            ).SerializeToString()[:cut],
            st.binary(max_size=200),
            st.integers(0, 220),
        ),
    )
)
def test_what_is_no_piece_is_left_to_protobuf(message: bytes) -> None:
    found = piece(message)
    if found is not None:
        read = pb.ProcessingRequest.FromString(message)
        assert read.WhichOneof("request") == "response_body"
        assert found == ResponseBody(read.response_body.body, read.response_body.end_of_stream)
