"""The JSON Schema judges as the loader does, and docs/config.md is current."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from extproc import discover
from extproc.config.reference import reference, schema

STAGES = discover.registry().blocks
HERE = Path(__file__).parent
TOP = HERE.parent.parent
BEYOND_A_SCHEMA = (
    "across", "alias-unknown", "alias-without-provider", "anchor", "auth", "control", "details", "document",
    "duplicate", "endpoint", "headers", "interpolation", "key-duplicate", "key-variable", "key-file", "limits-in-flight",
    "nested", "not-utf8", "port-variable", "provider-dialect", "provider-unknown",
    "provider-no-endpoint", "proxy", "tabs", "tag", "tls-missing", "tls-provider", "unclosed",
    "unquoted", "variable", "variant",
)  # fmt: skip
"""what one key alone cannot tell, or what is not YAML"""


def judge(file: Path) -> list[str]:
    document: Any = YAML(typ="safe", pure=True).load(file.read_text())  # type: ignore[no-untyped-call]
    validator = jsonschema.Draft202012Validator(schema(STAGES))
    return [error.message for error in validator.iter_errors(document)]


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema(STAGES))


@pytest.mark.parametrize("file", [TOP / "sluice.example.yaml", HERE / "service.yaml"], ids=str)
def test_it_accepts_good_files(file: Path) -> None:
    assert judge(file) == []


@pytest.mark.parametrize(
    "name",
    sorted(
        file.stem
        for file in (HERE / "bad").glob("*.yaml")
        if not file.stem.startswith(BEYOND_A_SCHEMA)
    ),
)
def test_it_refuses_bad_files(name: str) -> None:
    assert judge(HERE / "bad" / f"{name}.yaml")


def test_golden_page_is_current() -> None:
    page = TOP / "docs" / "config.md"
    if os.environ.get("SLUICE_GOLDEN") == "1":
        page.write_text(reference(STAGES))
    assert page.read_text() == reference(STAGES)
