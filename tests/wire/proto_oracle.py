"""Which of Envoy's messages each of ours stands for, and how to say the same in their classes.

`envoy-data-plane` is another implementation of Envoy's API, made by others from
Envoy's own files: what both understand alike is right. `build` makes their
message from ours value by value, `differences` compares the two field by field.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.protobuf import duration_pb2, struct_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from extproc.wire.pb import access_log_pb2 as log_pb
from extproc.wire.pb import ext_proc_pb2 as pb

with warnings.catch_warnings():
    # Their generated classes use a decorator that pydantic has deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from envoy_data_plane.envoy.config.core import v3 as core
    from envoy_data_plane.envoy.data.accesslog import v3 as logged
    from envoy_data_plane.envoy.extensions.filters.http.ext_proc import v3 as filter_v3
    from envoy_data_plane.envoy.service.accesslog import v3 as log_service
    from envoy_data_plane.envoy.service.ext_proc import v3 as service
    from envoy_data_plane.envoy.type import v3 as type_v3
    from envoy_data_plane.google.protobuf import Struct as TheirStruct

SERVICE = "envoy.service.ext_proc.v3"
LOG_SERVICE = "envoy.service.accesslog.v3"
LOGGED = "envoy.data.accesslog.v3"
CORE = "envoy.config.core.v3"


@dataclass(frozen=True)
class Pair:
    """One message: our class, their class, and Envoy's full name for it."""

    ours: type[Message]
    theirs: Any
    name: str


def _service(name: str) -> Pair:
    return Pair(getattr(pb, name), getattr(service, name), f"{SERVICE}.{name}")


def _core(name: str) -> Pair:
    return Pair(getattr(pb, name), getattr(core, name), f"{CORE}.{name}")


_SERVICE_NAMES = (
    *("ProcessingRequest", "ProcessingResponse", "ProtocolConfiguration"),
    *("HttpHeaders", "HttpBody", "HttpTrailers"),
    *("HeadersResponse", "BodyResponse", "TrailersResponse", "CommonResponse"),
    *("ImmediateResponse", "GrpcStatus", "HeaderMutation", "BodyMutation"),
)
PAIRS: dict[str, Pair] = {
    **{name: _service(name) for name in _SERVICE_NAMES},
    **{name: _core(name) for name in ("HeaderMap", "HeaderValue", "HeaderValueOption", "Metadata")},
    "HttpStatus": Pair(pb.HttpStatus, type_v3.HttpStatus, "envoy.type.v3.HttpStatus"),
    "ProcessingMode": Pair(
        pb.ProcessingMode,
        filter_v3.ProcessingMode,
        "envoy.extensions.filters.http.ext_proc.v3.ProcessingMode",
    ),
    "StreamAccessLogsMessage": Pair(
        log_pb.StreamAccessLogsMessage,
        log_service.StreamAccessLogsMessage,
        f"{LOG_SERVICE}.StreamAccessLogsMessage",
    ),
    "HTTPAccessLogEntries": Pair(
        log_pb.HTTPAccessLogEntries,
        log_service.StreamAccessLogsMessageHttpAccessLogEntries,
        f"{LOG_SERVICE}.StreamAccessLogsMessage.HTTPAccessLogEntries",
    ),
    "HTTPAccessLogEntry": Pair(
        log_pb.HTTPAccessLogEntry, logged.HttpAccessLogEntry, f"{LOGGED}.HTTPAccessLogEntry"
    ),
    "AccessLogCommon": Pair(
        log_pb.AccessLogCommon, logged.AccessLogCommon, f"{LOGGED}.AccessLogCommon"
    ),
}
FILES = (pb.DESCRIPTOR, log_pb.DESCRIPTOR)
ENUMS: dict[str, Any] = {
    "ResponseStatus": service.CommonResponseResponseStatus,
    "HeaderSendMode": filter_v3.ProcessingModeHeaderSendMode,
    "BodySendMode": filter_v3.ProcessingModeBodySendMode,
    "HeaderAppendAction": core.HeaderValueOptionHeaderAppendAction,
}
STATUS_CODES = tuple(int(code) for code in type_v3.StatusCode)


def fields(descriptor: Any) -> tuple[FieldDescriptor, ...]:
    """The fields of a message's descriptor."""
    return tuple(descriptor.fields)


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def of_text(field: FieldDescriptor) -> bool:
    """Of a map: its values are text, and no messages."""
    entry = field.message_type
    return entry is not None and entry.fields_by_name["value"].message_type is None


def build(ours: Message) -> Any:
    """The same message in their classes, made through their constructors."""
    values = {
        field.name: _their_value(field, getattr(ours, field.name)) for field, _ in ours.ListFields()
    }
    return PAIRS[ours.DESCRIPTOR.name].theirs(**values)


def _their_value(field: FieldDescriptor, value: Any) -> Any:
    if is_map(field):
        return {key: _their_item_of_map(item) for key, item in value.items()}
    if field.is_repeated:
        return [_their_item(field, item) for item in value]
    return _their_item(field, value)


def _their_item_of_map(value: Any) -> Any:
    return value if isinstance(value, str) else TheirStruct.parse(value.SerializeToString())


def _their_item(field: FieldDescriptor, value: Any) -> Any:
    match value:
        case struct_pb2.Struct():
            return TheirStruct.parse(value.SerializeToString())
        case duration_pb2.Duration():
            return value.ToTimedelta()
        case Message():
            return build(value)
    if field.enum_type is not None:
        return ENUMS[field.enum_type.name](value)
    if field.full_name == "sluice.ext_proc.HttpStatus.code":
        return type_v3.StatusCode(value)
    return value


def differences(ours: Message, theirs: Any, path: str = "") -> Iterator[str]:
    """Where the two say something else, as paths of fields."""
    for field in fields(ours.DESCRIPTOR):
        here = f"{path}.{field.name}"
        left, right = getattr(ours, field.name), getattr(theirs, field.name)
        if is_map(field):
            if {k: _comparable(v) for k, v in left.items()} != {
                k: _comparable(v if isinstance(v, str) else _struct(v)) for k, v in right.items()
            }:
                yield here
        elif field.is_repeated:
            if len(left) != len(right):
                yield here
            for number, (one, other) in enumerate(zip(left, right, strict=False)):
                yield from _item_differences(one, other, f"{here}[{number}]")
        elif field.has_presence and (not ours.HasField(field.name) or right is None):
            if ours.HasField(field.name) or right is not None:
                yield here
        else:
            yield from _item_differences(left, right, here)


def _item_differences(left: Any, right: Any, path: str) -> Iterator[str]:
    match left:
        case struct_pb2.Struct():
            if left != _struct(right):
                yield path
        case duration_pb2.Duration():
            if not isinstance(right, timedelta) or left.ToTimedelta() != right:
                yield path
        case Message():
            yield from differences(left, right, path)
        case int() if isinstance(right, int):
            if left != int(right):
                yield path
        case _:
            if left != right:
                yield path


def _comparable(value: Any) -> object:
    return value if isinstance(value, str) else value.SerializeToString(deterministic=True)


def _struct(theirs: Any) -> struct_pb2.Struct:
    return struct_pb2.Struct.FromString(bytes(theirs))
