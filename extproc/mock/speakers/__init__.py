"""The wire languages that the mock speaks, one file each.

A new one is a class that fits `answer.Speaker`, and a line in `speakers()`. A
speaker answers by the writer and honours the faults that concern content
(giant, words, events, usage, no-usage); the rest is `play.py`'s.
"""

from extproc.mock.answer import Speaker
from extproc.mock.speakers.openai_chat import OpenAIChat


def speakers() -> tuple[Speaker, ...]:
    """All of them, narrow claims first; the last also answers paths that nobody claims."""
    return (OpenAIChat(),)
