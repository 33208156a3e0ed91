"""What `make demo` shows is so, and it says it in a minute, on a terminal of 80 columns."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "demo"
WITHIN = 60
STEPS = 6


def timeless(text: str) -> str:
    return re.sub(r"\d+ ?ms", "N ms", text)


def test_the_demo_ends_well() -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / "demo.py")], capture_output=True, text=True, timeout=WITHIN
    )
    said = done.stdout
    assert done.returncode == 0, said + done.stderr
    assert re.findall(r"^(\d) ", said, re.M) == [str(n) for n in range(1, STEPS + 1)]
    assert "NOT SO" not in said
    assert said.count("   ok: ") >= 2 * STEPS
    assert said.endswith("All of it is so.\n")
    (shown,) = re.findall(r"^```text\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    assert timeless(shown) in timeless(said), "the README shows it as it is"
    assert max(map(len, said.splitlines())) <= 80


def test_it_says_what_is_not_so(tmp_path: Path) -> None:
    """The same demo, by a configuration in which north is hardly asked."""
    script = tmp_path / "demo.py"
    script.write_text((FOLDER / script.name).read_text())
    text = (FOLDER / "sluice.yaml").read_text()
    (tmp_path / "sluice.yaml").write_text(text.replace("weight: 70}", "weight: 7}"))
    done = subprocess.run(
        [sys.executable, str(script), "1"], capture_output=True, text=True, timeout=WITHIN
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "NOT SO: near the weights" in done.stdout
    assert done.stdout.endswith("Not so: near the weights\n")
