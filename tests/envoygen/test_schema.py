"""Every generated message against the schema that the Envoy binary carries, and Envoy's own check."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool

from extproc.config.layout import Layout
from extproc.envoygen.binary import envoy_binary
from extproc.envoygen.nodes import Node
from extproc.envoygen.render import KINDS, dump
from extproc.envoygen.static import static
from extproc.envoygen.write import write
from tests.envoygen.cases import CASES, rendered
from tests.kit_descriptors import load_pool, parse

BOOTSTRAP = "envoy.config.bootstrap.v3.Bootstrap"
RESPONSE = "envoy.service.discovery.v3.DiscoveryResponse"


@pytest.fixture(scope="module")
def pool() -> DescriptorPool:
    return load_pool(envoy_binary())


@pytest.mark.parametrize("name", CASES)
def test_schema_knows_every_field(name: str, pool: DescriptorPool, tmp_path: Path) -> None:
    files = rendered(CASES[name](), Layout(tmp_path, tmp_path))
    parse(pool, BOOTSTRAP, files.bootstrap)
    parse(pool, BOOTSTRAP, static(files))
    for kind in KINDS:
        parse(pool, RESPONSE, files[kind])


@pytest.mark.parametrize(
    "wrong",
    [
        {"nodes": {}},
        {"static_resources": {"clusters": [{"nam": "x"}]}},
        {
            "overload_manager": {
                "resource_monitors": [
                    {
                        "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.resource_monitors"
                            ".fixed_heap.v3.FixedHeapConfig",
                            "max_heap": 1,
                        }
                    }
                ]
            }
        },
    ],
)
def test_schema_refuses_what_it_does_not_know(wrong: Node, pool: DescriptorPool) -> None:
    with pytest.raises(json_format.ParseError, match="no field named"):
        parse(pool, BOOTSTRAP, wrong)


@pytest.mark.parametrize("name", CASES)
def test_envoy_accepts(name: str, tmp_path: Path) -> None:
    layout = Layout(tmp_path, tmp_path / "run")
    files = rendered(CASES[name](), layout)
    write(files, layout)  # makes the folder of the access log, which Envoy opens even now
    whole = tmp_path / "static.json"
    whole.write_text(dump(static(files)))
    told = subprocess.run(
        [envoy_binary(), "--mode", "validate", "--log-level", "warning", "-c", whole],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert told.stderr == "", "Envoy warns of something"
