"""Conditions: when a target may be asked, as the configuration says it, in CEL.

Takes one line of text and, for each request, facts; gives true or false. What is wrong with a
condition is said when it is compiled; at run time nothing of it raises, and nothing of it takes
long: `expressions.py` says what is refused. What cannot be evaluated, such as a header that
is not there, is false. Never reads a request: facts are looked up, one for each reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeAlias

from extproc.config.declared import BOOL, FLOAT, INT, MAPS, TEXT, Type, Wrong
from extproc.config.expressions import Slot, read
from extproc.model.value import value

Facts: TypeAlias = Mapping[str, Mapping[str, object]]
"""the fields of each root: see `declared.py`"""
_Found: TypeAlias = dict[str, object]

_EVALUATION = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
"""what the library raises for a value that does not fit: its KeyError for a missing field and so on"""
_EMPTY: Mapping[str, object] = {}

_LONGEST_PATTERN = 200
_MOST_REPEATED = 100
_KEPT = 256
"""answers kept of a pattern: the library compiles it anew for each look, for 5 to 500 us"""
_LONGEST_KEPT = 512
_COUNTS = re.compile(r"\{([0-9]+)(?:,([0-9]*))?\}")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ASCII = {
    "d": "[0-9]",
    "D": "[^0-9]",
    "w": "[0-9A-Za-z_]",
    "W": "[^0-9A-Za-z_]",
    "s": r"[\t\n\f\r ]",
    "S": r"[^\t\n\f\r ]",
    "b": r"(?-u:\b)",
    "B": r"(?-u:\B)",
}
"""CEL's patterns are RE2's, where these are of ASCII. The library's are of Unicode, and 20 times as slow"""


@value
class Condition:
    """One condition, compiled. `text` is as it was written."""

    text: str
    slots: tuple[Slot, ...]
    run: Callable[[_Found], object]

    @staticmethod
    def compile(text: str) -> Condition:
        """Raises ValueError, with what is wrong."""
        try:
            return _compile(text)
        except Wrong as wrong:
            raise ValueError(str(wrong)) from None

    def holds(self, facts: Facts) -> bool:
        """Whether it is true of a request. What cannot be evaluated is false."""
        found: _Found = {}
        for name, root, key, kind, asks in self.slots:
            value = facts.get(root, _EMPTY).get(key)
            if asks:
                found[name] = value is not None
            elif value is not None:
                found[name] = value
            elif root not in MAPS:
                found[name] = _default(kind)
        try:
            return self.run(found) is True
        except _EVALUATION:
            return False


def check(text: str) -> str | None:
    """What is wrong with a condition, for an error of the configuration; None: nothing."""
    try:
        _compile(text)
    except Wrong as wrong:
        return str(wrong)
    return None


def _compile(text: str) -> Condition:
    # The library brings a command line along: 0.2 s and 13 MB, only for who has a condition.
    import cel

    expression = read(text)
    patterns = {f"_m{n}": _matcher(pattern) for n, pattern in enumerate(expression.patterns)}
    try:
        program = cel.compile(expression.text)
    except ValueError:
        raise Wrong("it is not understood: a number or a text in it is not CEL's") from None

    def with_patterns(found: _Found) -> object:
        return program.execute(cel.Context(found, patterns))

    condition = Condition(text, expression.slots, with_patterns if patterns else program.execute)
    _try(condition)
    return condition


def _try(condition: Condition) -> None:
    """Evaluates it once, of facts that every reference finds."""
    try:
        answer = condition.run({slot.name: _sample(slot.type) for slot in condition.slots})
    except TypeError:
        raise Wrong("it compares or calculates with kinds that do not fit") from None
    except _EVALUATION:
        return
    if not isinstance(answer, bool):
        raise Wrong("it must be true or false")


def _default(type: Type) -> object:
    if type.many:
        return ()
    return {BOOL: False, INT: 0, FLOAT: 0.0}.get(type, "")


def _sample(type: Type) -> object:
    return "1" if type == TEXT else 1 if type == INT else _default(type)


def _matcher(pattern: str) -> Callable[[str], bool]:
    """Looks for a pattern. Linear in the text, whatever the pattern: the library has no backtracking."""
    import cel

    program = cel.compile("text.matches(pattern)")
    plain = _plain(pattern)

    def look(text: str) -> bool:
        return program.execute({"text": text, "pattern": plain}) is True

    try:
        look("")
    except RuntimeError:
        raise Wrong(
            f"the pattern {pattern[:64]!r} is broken, or too big when spelled out"
        ) from None
    known = lru_cache(_KEPT)(look)
    return lambda text: known(text) if len(text) <= _LONGEST_KEPT else look(text)


def _plain(pattern: str) -> str:
    if len(pattern) > _LONGEST_PATTERN:
        raise Wrong(f"a pattern has at most {_LONGEST_PATTERN} characters")
    repeated = 1
    for least, most in _COUNTS.findall(pattern):
        repeated *= max(int(most or least), 1)
    if repeated > _MOST_REPEATED:
        raise Wrong(f"the repetitions of a pattern may multiply to {_MOST_REPEATED} at most")
    return _ESCAPE.sub(_ascii, pattern)


def _ascii(escape: re.Match[str]) -> str:
    if escape[1] in "pP":
        raise Wrong(f"`\\{escape[1]}` is not known in patterns: list the letters, as in [a-z]")
    return _ASCII.get(escape[1], escape[0])
