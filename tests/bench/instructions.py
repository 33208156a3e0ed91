"""Machine instructions of one exchange, C included, counted by valgrind (in `make bench-full`).

The difference between two runs of `profile_exchange`, which cancels their start.
Compared with `instructions.json` where that was written by a machine with the same
Python, libraries and valgrind; `--write` writes it. Exit status 1 when an exchange
takes over 3 % more.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

STORED = Path(__file__).with_name("instructions.json")
KINDS: Sequence[tuple[str, Sequence[str], int]] = (
    ("1 KB whole", (), 500),
    ("1 KB streamed", ("--stream",), 100),
    ("1 KB streamed, translated", ("--translated",), 100),
)
"""name, flags of `profile_exchange`, exchanges that are counted"""
WARM = 50
MORE = 1.03
SECONDS = 300
_LIBRARIES = ("msgspec", "orjson", "protobuf")


def instructions(valgrind: str, flags: Sequence[str], count: int) -> float:
    """Of one exchange."""
    # Once without valgrind: so that none of the two has modules to compile.
    _run((), flags, 0)
    more, fewer = (_refs(valgrind, flags, n) for n in (WARM + count, WARM))
    return (more - fewer) / count


def _refs(valgrind: str, flags: Sequence[str], count: int) -> int:
    counting = ("--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
    said = _run((valgrind, *counting), flags, count)
    found = re.search(r"I\s+refs:\s+([\d,]+)", said)
    assert found is not None, said
    return int(found[1].replace(",", ""))


def _run(below: Sequence[str], flags: Sequence[str], count: int) -> str:
    """What it wrote to stderr."""
    command = [*below, sys.executable, "-m", "tests.bench.profile_exchange"]
    return subprocess.run(
        [*command, "--count", str(count), *flags],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    ).stderr


def place(valgrind: str) -> str:
    """What else the counts depend on, in short."""
    said = subprocess.run([valgrind, "--version"], capture_output=True, text=True, check=True)
    facts = (
        platform.machine(),
        platform.python_version(),
        *platform.libc_ver(),
        said.stdout.strip(),
        *(f"{name} {version(name)}" for name in _LIBRARIES),
        # A compiler makes another interpreter of the same source.
        hashlib.sha256(Path(sys.executable).resolve().read_bytes()).hexdigest()[:8],
    )
    return ", ".join(facts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the figures of this machine")
    args = parser.parse_args()
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        print(f"no valgrind on {platform.node()}: instructions are not counted")
        return
    here = place(valgrind)
    everything = json.loads(STORED.read_text()) if STORED.exists() else {}
    before = everything.get(here, {})
    found = {name: instructions(valgrind, flags, count) for name, flags, count in KINDS}
    worse = False
    print("| instructions an exchange, without the transport | now | stored |\n| --- | --- | --- |")
    for name, now in found.items():
        then = before.get(name)
        worse |= then is not None and now > then * MORE
        print(f"| {name} | {now:,.0f} | {f'{then:,.0f} ({now / then:.3f})' if then else '-'} |")
    if not before:
        print(f"\nNothing to compare with: no figures of {here}")
    if args.write:
        everything[here] = {name: round(now) for name, now in found.items()}
        STORED.write_text(json.dumps(everything, indent=2) + "\n")
    sys.exit(worse)


if __name__ == "__main__":
    main()
