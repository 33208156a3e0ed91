"""A writer whose answers depend on nothing but the prompt.

Takes the prompt and gives words; equal prompts give equal words in every
process and on every machine. It repeats the prompt's first words, so that a
test can see what arrived, and never uses a model, a clock or chance.
"""

from __future__ import annotations

import re
from zlib import crc32

_DIRECTIVE = re.compile(r"\s*\[\[mock\s+[^\]]*\]\]\s*")
_ECHOED = 16
_SENTENCES = (
    "The short answer is that it depends on what you want to do with it.",
    "A good first step is to look at a small example before a large one.",
    "Most people start with the simple case and add detail as they need it.",
    "There are two ways to see this, and both lead to the same result.",
    "In practice the second option is easier to keep and to explain.",
    "It helps to write down what is known and what is only assumed.",
    "The numbers are small enough to check by hand, so it is worth doing.",
    "If one part changes, the others can stay as they are.",
    "This has been tried before and works well when the parts are named clearly.",
    "When in doubt, measure it once and keep the result beside the code.",
)


def clean(prompt: str) -> str:
    """The prompt without directives for the mock itself."""
    return _DIRECTIVE.sub(" ", prompt).strip() if "[[mock" in prompt else prompt


def write(prompt: str, words: int | None = None, variant: int = 0) -> list[str]:
    """The answer as pieces that join to the text; each but the first starts with a space.

    `words` is the exact number of pieces (default: the prompt's echo and two
    or three sentences); `variant` gives other answers to the same prompt.
    """
    seed = crc32(prompt.encode("utf-8", "surrogatepass")) + variant * 7919
    asked = prompt.split()
    pieces = ["You", "said:", *asked[:_ECHOED]] if asked else ["You", "said", "nothing."]
    if len(asked) > _ECHOED:
        pieces.append("...")
    wanted = len(pieces) + 20 if words is None else words
    turn = 0
    while len(pieces) < wanted:
        pieces += _SENTENCES[(seed + turn * 3) % len(_SENTENCES)].split()
        turn += 1
    if words is not None:
        pieces = pieces[:words]
    return pieces[:1] + [" " + piece for piece in pieces[1:]]


def count(text: str) -> int:
    """Tokens of a text in the mock's own measure: its words."""
    return len(text.split())


def filler(size: int) -> str:
    """A text of exactly `size` bytes."""
    line = "All work and no play makes a long reply. "
    return (line * (size // len(line) + 1))[:size]
