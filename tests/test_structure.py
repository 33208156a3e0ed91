"""The project keeps its own house rules, and the check of them can fail."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from pathlib import Path

import pytest

from tests import structure

ROOT = Path(__file__).resolve().parent.parent
HERE = (Path("tests/structure.py"), Path("tests/test_structure.py"))
"""they name what they look for"""


def test_imports_keep_the_table() -> None:
    assert structure.wrong_imports(ROOT) == []


def test_the_tree_is_the_one_drawn() -> None:
    assert structure.wrong_tree(ROOT) == []


def test_modules_are_short_and_say_what_they_are() -> None:
    assert structure.wrong_modules(ROOT) == []
    for line in structure.long_modules(ROOT):
        warnings.warn(f"getting long: {line}", stacklevel=1)


def test_nothing_names_this_machine_or_a_registry() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: nothing says which files are the project's")
    files = [path for path in structure.tracked(ROOT) if path not in HERE]
    assert structure.foreign_places(ROOT, files) == []


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A tiny tree with this project's own page."""
    page = tmp_path / structure.PAGE
    page.parent.mkdir()
    shutil.copy(ROOT / structure.PAGE, page)
    for name in ("model", "dialects", "stages", "wire/pb"):
        (tmp_path / "extproc" / name).mkdir(parents=True)
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    (root / "extproc" / name).write_text(f'"""What it is."""\n\n{text}\n')


ALLOWED = [
    ("dialects/a.py", "import json"),
    ("dialects/a.py", "import orjson"),
    ("dialects/a.py", "from extproc.model.chat import Chat"),
    ("dialects/a.py", "from extproc import model"),
    ("dialects/a.py", "from extproc.dialects.b import B"),
    ("wire/a.py", "from extproc.config.names import CALL_HEADER"),
    ("wire/pb/a.py", "import stages"),
    ("app.py", "from extproc.stages import a"),
]
REFUSED = [
    ("dialects/a.py", "from extproc.stages.redact import Redact", "extproc.stages.redact.Redact"),
    ("dialects/a.py", "from extproc import stages", "extproc.stages"),
    ("dialects/a.py", "import extproc.stages.redact as r", "extproc.stages.redact"),
    ("dialects/a.py", "def late():\n    from extproc import stages", "extproc.stages"),
    ("dialects/a.py", "from ..stages import redact", "a relative import"),
    ("dialects/a.py", "from extproc import modelling", "extproc.modelling"),
    ("stages/a.py", "from extproc.dialects import b", "extproc.dialects.b"),
    ("model/a.py", "import msgspec", "msgspec"),
    ("wire/a.py", "from extproc.config.schema import Settings", "extproc.config.schema"),
    ("unheard/a.py", "import json", "unheard is not in the table"),
]


@pytest.mark.parametrize(("name", "text"), ALLOWED)
def test_an_allowed_import_passes(house: Path, name: str, text: str) -> None:
    write(house, name, text)
    assert structure.wrong_imports(house) == []


@pytest.mark.parametrize(("name", "text", "said"), REFUSED)
def test_a_forbidden_import_is_found(house: Path, name: str, text: str, said: str) -> None:
    (house / "extproc" / name).parent.mkdir(exist_ok=True)
    write(house, name, text)
    (problem,) = structure.wrong_imports(house)
    assert name in problem
    assert said in problem


def test_a_folder_that_is_not_drawn_is_found(house: Path) -> None:
    (house / "extproc" / "utils").mkdir()
    assert any("extproc/utils/ is not drawn" in line for line in structure.wrong_tree(house))


def test_a_drawn_folder_that_is_missing_is_found(house: Path) -> None:
    assert "proto/ is drawn but missing" in structure.wrong_tree(house)


def test_a_bad_module_is_found(house: Path) -> None:
    bad = house / "extproc" / "model" / "a.py"
    bad.write_text("def f(x: dict[str, Any]) -> None: ...\n" + "\n" * structure.LONGEST)
    found = "\n".join(structure.wrong_modules(house))
    for what in ("no docstring", "501 lines", "dict[..., Any]"):
        assert what in found


def test_a_path_of_one_machine_is_found(house: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=house, check=True)
    (house / "a.md").write_text("See /home/me/notes.\n")
    (house / "b.txt").write_text("--extra-index-url https://example.test/simple\n")
    (house / "c.md").write_text("Data lies in /data, sockets in /run.\n")
    files = [
        path for path in structure.tracked(house) if path.suffix == ".txt" or len(path.name) == 4
    ]
    assert structure.foreign_places(house, files) == ["a.md:1: /home/me", "b.txt:1: index-url"]
