"""What these tests run: the sources, or, with SLUICE_COMPILED=1, their compiled form alone."""

from __future__ import annotations

import importlib
import os
import pkgutil
from pathlib import Path

import pytest

HOT = ("codec", "dialects", "flow", "model", "routing", "stages", "telemetry", "wire")


@pytest.mark.parametrize("name", HOT)
def test_a_module_of_the_hot_path_is_what_it_is_said_to_be(name: str) -> None:
    package = importlib.import_module(f"extproc.{name}")
    found = {
        module.name: str(importlib.import_module(module.name).__file__)
        for module in pkgutil.walk_packages(package.__path__, f"extproc.{name}.")
        if ".pb" not in module.name
    }
    assert found
    compiled = {module for module, file in found.items() if file.endswith(".so")}
    if os.environ.get("SLUICE_COMPILED") == "1":
        left = {m for m in found.keys() - compiled if Path(found[m]).stat().st_size}
        assert not left
    else:
        assert not compiled
