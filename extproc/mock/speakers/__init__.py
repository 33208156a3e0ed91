"""The wire languages that the mock speaks, one file each.

A new one is a file here with a `SPEAKER` that fits `answer.Speaker`. A speaker
answers by the writer and honours the faults that concern content (giant, words,
events, usage, no-usage); the rest is `play.py`'s.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from extproc.mock.answer import Speaker

_LAST = "openai_chat"
"""claims broadly, and answers paths that nobody claims"""


def speakers() -> tuple[Speaker, ...]:
    """All of them, narrow claims first."""
    modules = [import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    found: list[Speaker] = [m.SPEAKER for m in modules if hasattr(m, "SPEAKER")]
    return tuple(sorted(found, key=_is_last))


def _is_last(speaker: Speaker) -> bool:
    return speaker.name == _LAST
