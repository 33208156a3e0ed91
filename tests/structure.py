"""The house rules that a program can check.

Takes the root of a tree laid out like this project, gives one line of text for
each thing that is wrong. The import table and the drawn tree are read from
`docs/architecture.md`, so that the page and the rule cannot part. Runs nothing
of what it reads.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "extproc"
PAGE = Path("docs/architecture.md")
GENERATED = Path("extproc/wire/pb")
LONGEST = 500
"""lines of a file, tests and generated code excepted"""
LONG = 350

ROOT_FILES = ("pyproject.toml", "README.md", "Makefile", "Dockerfile", "docker-compose.yml")
_ROW = re.compile(r"^\| (\w+) \| (.+?) \| (.+?) \|$", re.M)
_DRAWN = re.compile(r"^( {0,2})([a-z0-9_]+)/ +(.*)$", re.M)
_OTHERS_PLACES = re.compile(
    r"(?<![\w.])/(?:root|work|home/\w+|Users/\w+|opt/pypi)\b"
    r"|\bpypi\.org|pythonhosted|npmjs\.(?:org|com)|index-url|find-links"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """What one folder may import. `ours` None: everything of ours."""

    ours: tuple[str, ...] | None
    third_party: frozenset[str]


@dataclass(frozen=True, slots=True)
class Import:
    line: int
    name: str


def rules(page: str) -> Mapping[str, Rule]:
    """The table under "Who may import whom", by folder."""
    table = page.partition("### Who may import whom")[2].partition("\n## ")[0]
    found: dict[str, Rule] = {}
    for folder, ours, third in _ROW.findall(table):
        if folder != "folder":
            allowed = None if ours == "all" else _words(ours)
            found[folder] = Rule(allowed, frozenset(_words(third)))
    return found


def _words(cell: str) -> tuple[str, ...]:
    return () if cell == "-" else tuple(word.strip() for word in cell.split(","))


def drawn(page: str) -> Mapping[str, bool]:
    """Folders in the drawn tree (`extproc/model`), and whether each is only planned."""
    block = page.partition("## Tree")[2].split("```")[1]
    return {
        (f"{PACKAGE}/{name}" if indent else name): what.startswith("planned")
        for indent, name, what in _DRAWN.findall(block)
    }


def wrong_imports(root: Path) -> list[str]:
    """Imports that the table does not allow, and folders that it does not know."""
    table = rules((root / PAGE).read_text())
    problems: list[str] = []
    for path in _modules(root):
        parts = path.relative_to(root / PACKAGE).with_suffix("").parts
        folder = parts[0]
        if folder == "__init__":
            continue
        if folder not in table:
            problems.append(f"{path.relative_to(root)}: {folder} is not in the table")
            continue
        problems += [
            f"{path.relative_to(root)}:{one.line}: {why}"
            for one in _imports(ast.parse(path.read_text()))
            if (why := _judge(one.name, folder, table[folder])) is not None
        ]
    return problems


def _judge(name: str, folder: str, rule: Rule) -> str | None:
    top, _, rest = name.partition(".")
    if top in sys.stdlib_module_names:
        return None
    if top != PACKAGE:
        return None if top in rule.third_party else f"{folder} may not import {top}"
    if rule.ours is None or _below(rest, folder):
        return None
    return None if any(_below(rest, a) for a in rule.ours) else f"{folder} may not import {name}"


def _below(name: str, allowed: str) -> bool:
    return name == allowed or name.startswith(f"{allowed}.")


def _imports(tree: ast.Module) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield Import(node.lineno, f"{PACKAGE}.a relative import")
            elif node.module is not None:
                for alias in node.names:
                    yield Import(node.lineno, f"{node.module}.{alias.name}")


def wrong_tree(root: Path) -> list[str]:
    """Where the drawn tree and the real one differ."""
    folders = drawn((root / PAGE).read_text())
    problems = [f"{name} is missing" for name in ROOT_FILES if not (root / name).is_file()]
    problems += [
        f"{name}/ is drawn but missing"
        for name, planned in folders.items()
        if not planned and not (root / name).is_dir()
    ]
    problems += [
        f"{PACKAGE}/{path.name}/ is not drawn in {PAGE}"
        for path in sorted((root / PACKAGE).iterdir())
        if path.is_dir() and path.name != "__pycache__" and f"{PACKAGE}/{path.name}" not in folders
    ]
    return problems


def wrong_modules(root: Path) -> list[str]:
    """Modules without a docstring, longer than LONGEST, or with untyped dicts in a signature."""
    problems: list[str] = []
    for path in _modules(root):
        name, text = path.relative_to(root), path.read_text()
        tree = ast.parse(text)
        if tree.body and ast.get_docstring(tree) is None:
            problems.append(f"{name}: the module has no docstring")
        if (lines := text.count("\n")) > LONGEST:
            problems.append(f"{name}: {lines} lines; the most is {LONGEST}")
        problems += [
            f"{name}:{line}: {function} is public and its signature says dict[..., Any]"
            for function, line in _loose_signatures(tree)
        ]
    return problems


def long_modules(root: Path) -> list[str]:
    """Not wrong, but a question: modules of more than LONG lines."""
    sizes = {path: path.read_text().count("\n") for path in _modules(root)}
    return [f"{path.relative_to(root)}: {n} lines" for path, n in sizes.items() if n > LONG]


def _loose_signatures(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name[0] == "_":
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        hints = [a.annotation for a in arguments] + [node.returns]
        if any(re.search(r"\b(dict|Mapping)\[.*\bAny\]", ast.unparse(h)) for h in hints if h):
            yield node.name, node.lineno


def foreign_places(root: Path, files: list[Path]) -> list[str]:
    """Paths of one machine and hosts of package registries, in files that others will read."""
    problems: list[str] = []
    for path in files:
        try:
            text = (root / path).read_text()
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        problems += [
            f"{path}:{number}: {found.group()}"
            for number, line in enumerate(text.splitlines(), 1)
            if (found := _OTHERS_PLACES.search(line))
        ]
    return problems


def tracked(root: Path) -> list[Path]:
    """The files of the project: tracked by git, or new and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    )
    return [Path(name) for name in listed.stdout.decode().split("\0") if name]


def _modules(root: Path) -> Iterator[Path]:
    for path in sorted((root / PACKAGE).rglob("*.py")):
        if not path.is_relative_to(root / GENERATED):
            yield path
