"""Every file that Envoy is given, for three configurations, as text that a reviewer reads.

`SLUICE_GOLDEN=1 pytest tests/envoygen` writes them anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from extproc.config.layout import Layout
from extproc.envoygen.nodes import Node
from extproc.envoygen.render import KINDS, EnvoyFiles, dump
from extproc.envoygen.static import static
from tests.envoygen.cases import CASES, SECRET, minimal, rendered

GOLDEN = Path(__file__).parent / "golden"
EXAMPLE = Path(__file__).parents[2] / "envoy" / "bootstrap.example.json"

# paths that exist on nobody's machine, so that the files are the same on every one
CERTS = Path("/etc/sluice/certs")
LAYOUT = Layout(Path("/var/lib/sluice"), Path("/run/sluice"))


def at_home(name: str) -> EnvoyFiles:
    return rendered(CASES[name](CERTS), LAYOUT, CERTS / "roots.pem")


def compare(path: Path, text: str) -> None:
    if os.environ.get("SLUICE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_files(name: str) -> None:
    files = at_home(name)
    everything: Node = {"bootstrap": files.bootstrap, **{kind: files[kind] for kind in KINDS}}
    compare(GOLDEN / f"{name}.json", dump(everything))


def test_example() -> None:
    files = rendered(minimal(), LAYOUT, CERTS / "roots.pem")
    compare(EXAMPLE, dump(static(files)))


@pytest.mark.parametrize("name", CASES)
def test_no_credential_is_written(name: str) -> None:
    files = at_home(name)
    assert SECRET not in json.dumps([files.bootstrap, *(files[kind] for kind in KINDS)])


@pytest.mark.parametrize("name", CASES)
def test_static_discovers_nothing(name: str) -> None:
    files = at_home(name)
    before = dump(files.lds)
    text = dump(static(files))
    for word in ("path_config_source", "config_discovery", "eds_cluster_config", '"EDS"', '"rds"'):
        assert word not in text
    assert dump(files.lds) == before


def test_version_follows_content() -> None:
    one, same, other = at_home("minimal"), at_home("minimal"), at_home("several")
    for kind in KINDS:
        assert one.version(kind) == same.version(kind)
    # settings change limits, routes and providers, and never who the workers are
    changed = [kind for kind in KINDS if one.version(kind) != other.version(kind)]
    assert changed == ["cds", "ecds", "rds", "lds"]
