"""Our subset of the ext_proc protocol against another implementation of Envoy's API, both ways."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import duration_pb2, struct_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.wire.pb import ext_proc_pb2 as pb
from tests.wire.proto_oracle import (
    FILES,
    PAIRS,
    STATUS_CODES,
    build,
    differences,
    fields,
    is_map,
    of_text,
    service,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON_OBJECTS = st.dictionaries(
    TEXT,
    st.none() | st.booleans() | st.floats(allow_nan=False) | TEXT | st.lists(TEXT, max_size=2),
    max_size=3,
)


def agree(ours: Message) -> None:
    """Ours read by them, theirs read by us, say the same; and their bytes pass through us and back."""
    pair = PAIRS[ours.DESCRIPTOR.name]
    read_by_them = pair.theirs.parse(ours.SerializeToString())
    assert list(differences(ours, read_by_them)) == []
    assert pair.ours.FromString(bytes(read_by_them)) == ours
    written_by_them = build(ours)
    read_by_us = pair.ours.FromString(bytes(written_by_them))
    assert read_by_us == ours
    assert list(differences(read_by_us, written_by_them)) == []
    assert pair.theirs.parse(read_by_us.SerializeToString()) == written_by_them


def example(descriptor: Any, seed: int, depth: int = 0) -> Message:
    """A message in which every field is set, each to another value; of a oneof the last one wins."""
    message = PAIRS[descriptor.name].ours()
    for field in fields(descriptor):
        put(message, field, seed * 31 + field.number, depth)
    return message


def put(message: Message, field: FieldDescriptor, seed: int, depth: int = 0) -> None:
    """Set one field to a value that `seed` tells apart from all others."""
    name = field.name
    if is_map(field) and of_text(field):
        getattr(message, name)[f"key {seed}"] = f"text {seed}"
    elif is_map(field):
        getattr(message, name)[f"key {seed}"].update({f"in {seed}": [seed, None, {"a": "b"}]})
    elif field.message_type is not None:
        inner = _message(field.message_type, seed, depth)
        if field.is_repeated:
            getattr(message, name).extend([inner, _message(field.message_type, seed + 1, depth)])
        else:
            getattr(message, name).CopyFrom(inner)
    elif field.is_repeated:
        getattr(message, name).extend([f"text {seed}", f"text {seed + 1}", ""])
    else:
        setattr(message, name, _scalar(field, seed))


def _message(descriptor: Any, seed: int, depth: int) -> Message:
    match descriptor.full_name:
        case "google.protobuf.Struct":
            made = struct_pb2.Struct()
            made.update({f"key {seed}": seed, "list": [True, None]})
            return made
        case "google.protobuf.Duration":
            return duration_pb2.Duration(seconds=seed, nanos=7000)
        case _:
            return example(descriptor, seed, depth + 1)


def _scalar(field: FieldDescriptor, seed: int) -> Any:
    if field.full_name == "sluice.ext_proc.HttpStatus.code":
        return STATUS_CODES[1 + seed % (len(STATUS_CODES) - 1)]
    if field.enum_type is not None:
        numbers = [value.number for value in field.enum_type.values]
        return numbers[1 + seed % (len(numbers) - 1)]
    match field.type:
        case FieldDescriptor.TYPE_BOOL:
            return True
        case FieldDescriptor.TYPE_BYTES:
            return b"\x00\xff bytes %d" % seed
        case FieldDescriptor.TYPE_STRING:
            return f"te\u00e9xt {seed}"
        case FieldDescriptor.TYPE_UINT32:
            return (1 << 32) - seed
        case _:
            raise AssertionError(f"{field.full_name}: no example for this type")


def every_field() -> list[tuple[str, str]]:
    return [
        (name, field.name) for name, pair in PAIRS.items() for field in fields(pair.ours.DESCRIPTOR)
    ]


def test_every_message_of_ours_has_its_oracle():
    assert {name for file in FILES for name in file.message_types_by_name} == set(PAIRS)


@pytest.mark.parametrize(("name", "field"), every_field())
def test_each_field_alone(name: str, field: str):
    message = PAIRS[name].ours()
    descriptor: Any = message.DESCRIPTOR.fields_by_name[field]
    put(message, descriptor, 40 + descriptor.number)
    assert [found.name for found, _ in message.ListFields()] == [field]
    agree(message)


@pytest.mark.parametrize("name", PAIRS)
def test_all_fields_together(name: str):
    agree(example(PAIRS[name].ours.DESCRIPTOR, 3))


@pytest.mark.parametrize("name", PAIRS)
def test_an_empty_message(name: str):
    agree(PAIRS[name].ours())


@pytest.mark.parametrize(
    ("enum", "name", "field"),
    [
        ("ResponseStatus", "CommonResponse", "status"),
        ("HeaderSendMode", "ProcessingMode", "request_header_mode"),
        ("BodySendMode", "ProcessingMode", "request_body_mode"),
        ("HeaderAppendAction", "HeaderValueOption", "append_action"),
    ],
)
def test_each_value_of_an_enum(enum: str, name: str, field: str):
    message = PAIRS[name].ours()
    values = message.DESCRIPTOR.fields_by_name[field].enum_type
    assert values is not None
    assert values.name == enum
    for value in values.values:
        setattr(message, field, value.number)
        agree(message)


def messages(descriptor: Any) -> st.SearchStrategy[Message]:
    """Any message of ours; our types do not nest in themselves, so this ends."""
    parts = {field.name: st.none() | _values(field) for field in fields(descriptor)}
    return st.fixed_dictionaries(parts).map(lambda values: _assembled(descriptor, values))


def _assembled(descriptor: Any, values: dict[str, Any]) -> Message:
    message = PAIRS[descriptor.name].ours()
    for field in fields(descriptor):
        value = values[field.name]
        if value is None:
            continue
        target = getattr(message, field.name)
        if is_map(field):
            for key, item in value.items():
                if isinstance(item, str):
                    target[key] = item
                else:
                    target[key].CopyFrom(item)
        elif field.is_repeated:
            target.extend(value)
        elif field.message_type is not None:
            target.CopyFrom(value)
        else:
            setattr(message, field.name, value)
    return message


def _values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if is_map(field):
        items = TEXT if of_text(field) else JSON_OBJECTS.map(_as_struct)
        return st.dictionaries(TEXT, items, max_size=2)
    one = _one(field)
    return st.lists(one, max_size=3) if field.is_repeated else one


def _one(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        match field.message_type.full_name:
            case "google.protobuf.Struct":
                return JSON_OBJECTS.map(_as_struct)
            case "google.protobuf.Duration":
                # A timedelta, which is what they make of it, holds microseconds.
                seconds, micros = st.integers(0, 10**6), st.integers(0, 999_999)
                return st.builds(
                    lambda s, m: duration_pb2.Duration(seconds=s, nanos=m * 1000), seconds, micros
                )
            case _:
                return messages(field.message_type)
    if field.full_name == "sluice.ext_proc.HttpStatus.code":
        return st.sampled_from(STATUS_CODES)
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    match field.type:
        case FieldDescriptor.TYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.TYPE_BYTES:
            return st.binary(max_size=20)
        case FieldDescriptor.TYPE_UINT32:
            return st.integers(0, (1 << 32) - 1)
        case _:
            return TEXT


def _as_struct(value: dict[str, Any]) -> struct_pb2.Struct:
    made = struct_pb2.Struct()
    made.update(value)
    return made


@pytest.mark.parametrize(
    "name", ["ProcessingRequest", "ProcessingResponse", "StreamAccessLogsMessage"]
)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_message(name: str, data: st.DataObject):
    agree(data.draw(messages(PAIRS[name].ours.DESCRIPTOR)))


def test_what_they_know_and_we_do_not_passes_through_us():
    theirs = service.ProcessingResponse(
        request_body=service.BodyResponse(
            response=service.CommonResponse(
                body_mutation=service.BodyMutation(
                    streamed_response=service.StreamedBodyResponse(body=b"x", end_of_stream=True)
                ),
                clear_route_cache=True,
            )
        ),
        request_drain=True,
    )
    ours = pb.ProcessingResponse.FromString(bytes(theirs))
    assert ours.request_body.response.clear_route_cache
    assert ours.request_body.response.body_mutation.WhichOneof("mutation") is None
    assert service.ProcessingResponse.parse(ours.SerializeToString()) == theirs


UNKNOWN = b"\xc2\x3e\x04new!" + b"\xc8\x3e\x2a"
"""field 1000, text; field 1001, a number: what a later Envoy may send"""


@pytest.mark.parametrize("name", PAIRS)
def test_what_nobody_knows_yet_passes_through_both(name: str):
    pair = PAIRS[name]
    known = example(pair.ours.DESCRIPTOR, 5).SerializeToString()
    ours = pair.ours.FromString(known + UNKNOWN)
    assert ours.SerializeToString().endswith(UNKNOWN)
    theirs = pair.theirs.parse(ours.SerializeToString())
    assert bytes(theirs).endswith(UNKNOWN)
    assert pair.ours.FromString(bytes(theirs)) == ours
