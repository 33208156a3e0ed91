"""The external processing protocol on one side, `flow.messages` on the other.

`incoming` reads a ProcessingRequest, `outgoing` writes a ProcessingResponse.
Knows the protocol (envoy.service.ext_proc.v3) and nothing of policy or I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import lru_cache

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from extproc.config.names import ANSWERED, LENGTH, PLAN_NAMESPACE, ROUTE_NAMESPACE
from extproc.flow.messages import (
    Continue,
    Incoming,
    Mode,
    Outgoing,
    Reply,
    RequestBody,
    RequestHead,
    ResponseBody,
    ResponseHead,
    Route,
)
from extproc.model.call import CallId
from extproc.wire.pb import ext_proc_pb2 as pb

_ATTRIBUTES = "envoy.filters.http.ext_proc"
_DETAILS = "response.code_details"
_OVERWRITE = pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
_IMMEDIATE_DETAILS = "sluice"
_GROUPS = "priority_groups"
_HEADERS = 1024
"""headers kept ready: those that a provider's requests and replies share, and recent lengths"""
_PLANS = 4096
"""distinct routes whose metadata is kept ready: providers x models x callers"""


class Phase(Enum):
    """Which message is being answered. Values are the names of the oneof's fields."""

    REQUEST_HEADERS = "request_headers"
    REQUEST_BODY = "request_body"
    RESPONSE_HEADERS = "response_headers"
    RESPONSE_BODY = "response_body"


class Unexpected(Exception):
    """A message that our processing mode never asks for (trailers, an empty oneof)."""


def incoming(request: pb.ProcessingRequest, call_id: CallId, peer: str) -> tuple[Phase, Incoming]:
    """Raises Unexpected."""
    match request.WhichOneof("request"):
        case "response_body":
            body = request.response_body
            return Phase.RESPONSE_BODY, ResponseBody(body.body, body.end_of_stream)
        case "request_headers":
            head = request.request_headers
            headers = header_map(head.headers)
            return Phase.REQUEST_HEADERS, RequestHead(call_id, peer, headers, head.end_of_stream)
        case "request_body":
            return Phase.REQUEST_BODY, RequestBody(request.request_body.body)
        case "response_headers":
            head = request.response_headers
            message = ResponseHead(header_map(head.headers), head.end_of_stream, _details(request))
            return Phase.RESPONSE_HEADERS, message
        case other:
            raise Unexpected(str(other))


def piece(message: bytes) -> ResponseBody | None:
    """What a message says that holds nothing but a piece of a reply's body; None for any other.

    Read by hand, since a stream brings so many: `response_body {body, end_of_stream}`.
    """
    if message[:1] != _PIECE:
        return None
    size, at = _number(message, 1)
    end = len(message)
    if at + size != end:
        return None
    body = b""
    if message[at : at + 1] == _DATA:
        size, at = _number(message, at + 1)
        begin, at = at, at + size
        if not begin <= at <= end:
            return None
        body = message[begin:at]
    rest = message[at:]
    return ResponseBody(body, bool(rest)) if not rest or rest == _LAST else None


def _number(message: bytes, at: int) -> tuple[int, int]:
    """The varint at `at`, and where it ends; -1 for one that does not."""
    value = shift = 0
    for octet in message[at : at + 5]:
        at += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
        shift += 7
    return -1, at


def header_map(headers: pb.HeaderMap) -> Mapping[str, str]:
    """Lower-case names (Envoy's); the values of a repeated header joined. Bytes read as Latin-1."""
    pairs = [(h.key, h.raw_value.decode("latin-1") or h.value) for h in headers.headers]
    result = dict(pairs)
    if len(result) == len(pairs):
        return result
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _details(request: pb.ProcessingRequest) -> str:
    if _ATTRIBUTES not in request.attributes:
        return ""
    fields = request.attributes[_ATTRIBUTES].fields
    return fields[_DETAILS].string_value if _DETAILS in fields else ""


def outgoing(answer: Outgoing, phase: Phase) -> bytes:
    """The serialised ProcessingResponse that answers a message of `phase`."""
    match answer:
        case Continue():
            if answer.body is None and not answer.set and not answer.remove and not answer.route:
                return _plain(phase, answer.mode)
            return _changed(answer, phase)
        case Reply():
            return _immediate(answer)


@lru_cache(maxsize=64)
def _plain(phase: Phase, mode: Mode | None) -> bytes:
    """Go on unchanged: a constant for each phase and mode."""
    response = pb.ProcessingResponse()
    getattr(response, phase.value).response.SetInParent()
    if mode is not None:
        response.mode_override.CopyFrom(_MODES[mode])
    return response.SerializeToString()


def _changed(answer: Continue, phase: Phase) -> bytes:
    """Written field by field: most of a message never changes, and serialised pieces can be joined."""
    mutation = b"".join([_set(*pair) for pair in answer.set])
    if answer.remove:
        mutation += _remove(answer.remove)
    common = [_HEADER_MUTATION, _length(len(mutation)), mutation] if mutation else []
    if answer.body is not None:
        size = _length(len(answer.body))
        inner = 1 + len(size) + len(answer.body)
        common += (_BODY_MUTATION, _length(inner), _BODY, size, answer.body)
    if answer.route is not None and answer.route.clusters:
        # Envoy ignores this flag unless the same reply mutates a header; a routed request always does.
        common.append(_CLEAR_ROUTE_CACHE)
    size = sum(map(len, common))
    head = b"%b%b" % (_COMMON, _length(size))
    whole = [_PHASES[phase], _length(len(head) + size), head, *common]
    if answer.mode is not None:
        whole.append(_MODE_OVERRIDES[answer.mode])
    if answer.route is not None:
        whole.append(_route(answer.route))
    return b"".join(whole)


def _length(size: int) -> bytes:
    """A length as protobuf's varint."""
    out = b""
    while size > 0x7F:
        out += _BYTES[size & 0x7F | 0x80]
        size >>= 7
    return out + _BYTES[size]


_BYTES = [bytes([number]) for number in range(256)]


def _tag(message: type[Message], field: str) -> bytes:
    """The key that stands before a field which has a length; all of ours have numbers below 16."""
    number = message.DESCRIPTOR.fields_by_name[field].number
    return _BYTES[number << 3 | 2]


_PHASES = {phase: _tag(pb.ProcessingResponse, phase.value) for phase in Phase}
_COMMON = _tag(pb.BodyResponse, "response")
_HEADER_MUTATION = _tag(pb.CommonResponse, "header_mutation")
_BODY_MUTATION = _tag(pb.CommonResponse, "body_mutation")
_BODY = _tag(pb.BodyMutation, "body")
_PIECE = _tag(pb.ProcessingRequest, "response_body")
_DATA = _tag(pb.HttpBody, "body")
_LAST = pb.HttpBody(end_of_stream=True).SerializeToString()
_AND_REPLACE = pb.ProcessingResponse(
    request_headers=pb.HeadersResponse(
        response=pb.CommonResponse(status=pb.CommonResponse.CONTINUE_AND_REPLACE)
    )
).SerializeToString()
_CLEAR_ROUTE_CACHE = pb.CommonResponse(clear_route_cache=True).SerializeToString()


@lru_cache(maxsize=_HEADERS)
def _remove(names: tuple[str, ...]) -> bytes:
    return pb.HeaderMutation(remove_headers=names).SerializeToString()


@lru_cache(maxsize=_PLANS)
def _route(route: Route) -> bytes:
    """The dynamic metadata of a route, as bytes to append: protobuf merges what is concatenated."""
    metadata = Struct()
    if route.clusters:
        groups = metadata.get_or_create_struct(ROUTE_NAMESPACE).get_or_create_list(_GROUPS)
        for i, name in enumerate(route.clusters):
            group = groups.add_struct()
            group["name"] = f"g{i}"
            cluster = group.get_or_create_list("clusters").add_struct()
            cluster["cluster_name"], cluster["weight"] = name, 100
    metadata.get_or_create_struct(PLAN_NAMESPACE).update(dict(route.plan))
    return pb.ProcessingResponse(dynamic_metadata=metadata).SerializeToString()


def sending(answer: Continue) -> bytes:
    """As `outgoing`, to an attempt's request headers: its body takes the place of the one that comes.

    Envoy strips a length there and would send it chunked, so it is told beside the message.
    """
    assert answer.body is not None and answer.route is not None
    told = outgoing(answer, Phase.REQUEST_HEADERS)
    return b"".join((told, _AND_REPLACE, _long(len(answer.body), answer.route.plan)))


@lru_cache(maxsize=_HEADERS)
def _long(size: int, plan: tuple[tuple[str, str], ...]) -> bytes:
    # with all of the plan: in a map the later entry takes the place of the one before
    metadata = Struct()
    metadata.update({PLAN_NAMESPACE: {**dict(plan), LENGTH: str(size)}})
    return pb.ProcessingResponse(dynamic_metadata=metadata).SerializeToString()


def _immediate(answer: Reply) -> bytes:
    response = pb.ProcessingResponse()
    immediate = response.immediate_response
    immediate.status.code = answer.status
    immediate.headers.MergeFromString(b"".join([_set(*pair) for pair in answer.headers.items()]))
    immediate.body = answer.body
    immediate.details = _IMMEDIATE_DETAILS
    return response.SerializeToString() + _ANSWERED


@lru_cache(maxsize=_HEADERS)
def _set(name: str, value: str) -> bytes:
    """A HeaderMutation that sets one header. Most of them never change, and bytes can be joined."""
    option = pb.HeaderValueOption(
        header=pb.HeaderValue(key=name, raw_value=value.encode("latin-1", "replace")),
        append_action=_OVERWRITE,
    )
    return pb.HeaderMutation(set_headers=[option]).SerializeToString()


def _answered() -> bytes:
    metadata = Struct()
    metadata.update({PLAN_NAMESPACE: {ANSWERED: "1"}})
    return pb.ProcessingResponse(dynamic_metadata=metadata).SerializeToString()


_ANSWERED = _answered()


def _mode(
    body: pb.ProcessingMode.BodySendMode,
    request: pb.ProcessingMode.BodySendMode = pb.ProcessingMode.BUFFERED,
) -> pb.ProcessingMode:
    # An override replaces the whole mode, so every field is stated.
    return pb.ProcessingMode(
        request_header_mode=pb.ProcessingMode.SEND,
        request_body_mode=request,
        response_header_mode=pb.ProcessingMode.SEND,
        response_body_mode=body,
        request_trailer_mode=pb.ProcessingMode.SKIP,
        response_trailer_mode=pb.ProcessingMode.SKIP,
    )


_MODES: Mapping[Mode, pb.ProcessingMode] = {
    Mode.REQUEST: _mode(pb.ProcessingMode.NONE),
    Mode.UPLOAD: _mode(pb.ProcessingMode.NONE, request=pb.ProcessingMode.NONE),
    Mode.WHOLE: _mode(pb.ProcessingMode.BUFFERED),
    Mode.BOUNDED: _mode(pb.ProcessingMode.BUFFERED_PARTIAL),
    Mode.PIECES: _mode(pb.ProcessingMode.STREAMED),
}
_MODE_OVERRIDES = {
    mode: pb.ProcessingResponse(mode_override=wanted).SerializeToString()
    for mode, wanted in _MODES.items()
}
