"""A Dockerfile's steps, read and run without docker.

`parse` gives the instructions. `Image` carries them out below a scratch folder
that stands for the container's root: absolute paths of ours are moved there,
and programs that would change the system's users do nothing. It shows that the
steps work and what they leave; it is no container.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

_OURS = re.compile(r"(?<![\w./-])/(?=(?:opt|src|data)\b)")
_NOT_HERE = ("groupadd", "useradd", "chown")


@dataclass(frozen=True, slots=True)
class Step:
    word: str
    rest: str

    @property
    def argv(self) -> list[str]:
        """The exec form of a command."""
        return json.loads(self.rest)


def parse(text: str) -> list[Step]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Step(*line.split(None, 1)) for line in joined.splitlines()]


@dataclass
class Image:
    """`root` is the folder of the last stage once `build` is done."""

    context: Path
    scratch: Path
    steps: list[Step] = field(default_factory=list[Step])
    env: dict[str, str] = field(default_factory=dict[str, str])
    workdir: Path = Path()
    stages: dict[str, Path] = field(default_factory=dict[str, Path])
    stage: str = ""

    def __post_init__(self) -> None:
        self.steps = parse((self.context / "Dockerfile").read_text())
        self._make_shims()

    @property
    def root(self) -> Path:
        """Always the same folder, since environments do not survive a move."""
        return self.scratch / "root"

    def build(self) -> None:
        for step in self.steps:
            match step.word:
                case "FROM":
                    self._begin(step.rest)
                case "WORKDIR":
                    self.workdir = self._at(step.rest)
                    self.workdir.mkdir(parents=True, exist_ok=True)
                case "COPY":
                    self._copy(step.rest.split())
                case "ARG":
                    # What is compiled takes minutes, and `make compiled-check` tests it.
                    self.env[step.rest.partition("=")[0]] = ""
                case "ENV":
                    self.env |= dict(pair.split("=", 1) for pair in step.rest.split())
                case "RUN":
                    self.run(["sh", "-ec", self._moved(step.rest)])
                case _:
                    pass

    def one(self, word: str) -> Step:
        """The last stage's instruction of this kind."""
        return [step for step in self.steps if step.word == word][-1]

    def environment(self) -> dict[str, str]:
        """What a process of the image gets; pip's own settings come from outside."""
        outside = {k: v for k, v in os.environ.items() if k.startswith("PIP_") or k == "HOME"}
        path = f"{self.scratch / 'shims'}:/usr/bin:/bin"
        own = {k: self._moved(v).replace("$PATH", path) for k, v in self.env.items()}
        return {**outside, "PATH": path, **own}

    def run(self, argv: list[str]) -> str:
        done = subprocess.run(
            argv, cwd=self.workdir, env=self.environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, f"{argv}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _begin(self, rest: str) -> None:
        if self.root.exists():
            kept = self.scratch / f"stage-{self.stage}"
            self.root.rename(kept)
            self.stages[self.stage] = kept
        _, _, self.stage = rest.partition(" AS ")
        self.root.mkdir(parents=True)
        self.workdir, self.env = self.root, {}

    def _copy(self, words: list[str]) -> None:
        origin = self.context
        if words[0].startswith("--from="):
            origin = self.stages[words.pop(0).removeprefix("--from=")]
        *sources, to = words
        goal = self._at(to)
        for source in (origin / name.lstrip("/") for name in sources):
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__") if origin == self.context else None
                shutil.copytree(source, goal, symlinks=True, dirs_exist_ok=True, ignore=ignore)
            else:
                shutil.copy(source, goal / source.name if to.endswith("/") else goal)

    def _at(self, path: str) -> Path:
        return self.root / path.lstrip("/") if path.startswith("/") else self.workdir / path

    def _moved(self, text: str) -> str:
        return _OURS.sub(f"{self.root}/", text)

    def _make_shims(self) -> None:
        shims = self.scratch / "shims"
        shims.mkdir(parents=True)
        (shims / "python").symlink_to(Path(sys._base_executable))  # pyright: ignore
        for name in _NOT_HERE:
            (shims / name).symlink_to("/bin/true")
