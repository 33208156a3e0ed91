"""Compiles the two C programs of `make bench` into build/bench, once for each change of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = HERE.parent.parent / "build" / "bench"


def program(name: str) -> Path:
    """The compiled `name`.c. Exits with a word for the user when there is no C compiler."""
    source, made = HERE / f"{name}.c", FOLDER / name
    if made.exists() and made.stat().st_mtime >= source.stat().st_mtime:
        return made
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        sys.exit("make bench needs a C compiler: install the package `gcc` of your system.")
    FOLDER.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(made), str(source), "-lm"]
    subprocess.run(command, check=True)
    return made
