"""One condition's text, read: what kind each of its parts is, and what it refers to.

Takes an expression in CEL (cel.dev, language definition), gives the same one with a plain
variable in place of each reference (`request.tokens` becomes `_0`), so that evaluating it
needs only what it names. Refuses what is undeclared, what has the wrong kind, and what could
make it slow: a list walked inside of another, text that grows, a pattern that is no literal.
Never evaluates anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from extproc.config.declared import (
    BOOL,
    DECLARED,
    FLOAT,
    INT,
    MAPS,
    NUMBERS,
    TEXT,
    Type,
    Wrong,
    alike,
    calculated,
    may_be_credential,
    nearest,
    relate,
    undeclared,
)

LONGEST = 1000
"""characters of a condition"""
DEEPEST = 24
"""brackets within brackets; the library's own bound is about 90"""


_WALKS = ("all", "exists", "exists_one", "filter", "map")
_LOOKS = ("startsWith", "endsWith", "contains")
_METHODS = (*_LOOKS, "matches", "size", *_WALKS)
_CONVERTERS = {"int": INT, "double": FLOAT, "string": TEXT}
_FUNCTIONS = ("has", "size", *_CONVERTERS)
_RELATIONS = ("==", "!=", "<", "<=", ">", ">=", "in")
_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n\f]+|//[^\n]*)
    |(?P<number>0x[0-9a-fA-F]+|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
    |(?P<text>[rR](?:"[^"\n]*"|'[^'\n]*')|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = dict(zip("abfnrtv\\\"'`?", "\a\b\f\n\r\t\v\\\"'`?", strict=True))


class Token(NamedTuple):
    sort: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class Slot(NamedTuple):
    """A variable: the field `key` of `root`, or, if it `asks`, whether that is there."""

    name: str
    root: str
    key: str
    type: Type
    asks: bool


@dataclass(frozen=True, slots=True)
class Expression:
    """`text` is the rewritten one; `patterns` are those that its functions `_m0`, `_m1`... look for."""

    text: str
    slots: tuple[Slot, ...]
    patterns: tuple[str, ...]


def read(text: str) -> Expression:
    """The expression, found sound. Raises `Wrong`."""
    if len(text) > LONGEST:
        raise Wrong(f"it has {len(text)} characters; {LONGEST} are the most")
    reader = _Reader(text)
    found = reader.expression()
    reader.finish()
    if found != BOOL:
        raise Wrong(f"it must be true or false; it is {found}")
    return reader.result()


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise Wrong(f"character {at + 1}, {text[at]!r}, is not understood")
        if found.lastgroup != "blank":
            yield Token(str(found.lastgroup), found[0], at)
        at = found.end()
    yield Token("end", "", at)


def _literal(token: Token) -> str:
    """The text that a literal stands for."""
    if token.text[0] in "rR":
        return token.text[2:-1]
    return _ESCAPE.sub(lambda m: _unescaped(m[1], token), token.text[1:-1])


def _unescaped(letter: str, token: Token) -> str:
    if letter not in _ESCAPED:
        raise Wrong(
            f"`\\{letter}` in the text at character {token.start + 1} is not understood:"
            f' write `\\\\{letter}`, or r"..." around it'
        )
    return _ESCAPED[letter]


class _Reader:
    """One method for each level of the grammar, loosest first; each gives what kind it read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._all = list(_tokens(text))
        self._at = 0
        self._depth = 0
        self._bound: tuple[str, Type] | None = None
        self._slots: dict[tuple[str, str, bool], Slot] = {}
        self._patterns: list[str] = []
        self._edits: list[tuple[int, int, str]] = []

    def result(self) -> Expression:
        pieces: list[str] = []
        done = 0
        for start, end, new in sorted(self._edits):
            pieces += (self._text[done:start], new)
            done = end
        pieces.append(self._text[done:])
        return Expression("".join(pieces), tuple(self._slots.values()), tuple(self._patterns))

    def finish(self) -> None:
        if self._now.sort != "end":
            raise self._unexpected()

    @property
    def _now(self) -> Token:
        return self._all[self._at]

    def _take(self) -> Token:
        token = self._now
        self._at += token.sort != "end"
        return token

    def _skip(self, *signs: str) -> str:
        """The next token's text if it is one of these, which it then leaves behind; else nothing."""
        if self._now.sort in ("sign", "name") and self._now.text in signs:
            return self._take().text
        return ""

    def _need(self, sign: str) -> Token:
        token = self._now
        if not self._skip(sign):
            raise self._unexpected(f"`{sign}`")
        return token

    def _name(self) -> Token:
        if self._now.sort != "name":
            raise self._unexpected("a name")
        return self._take()

    def _unexpected(self, wanted: str = "") -> Wrong:
        token = self._now
        what = f"`{token.text}` at character {token.start + 1}" if token.text else "its end"
        return Wrong(f"{what} comes where {wanted or 'something else'} should be")

    def _want(self, found: Type, wanted: Type, by: str) -> None:
        if found != wanted:
            raise Wrong(f"{by} needs {wanted}; it gets {found}")

    def expression(self) -> Type:
        self._depth += 1
        if self._depth > DEEPEST:
            raise Wrong(f"it has more than {DEEPEST} brackets within brackets")
        found = self._either()
        if self._skip("?"):
            self._want(found, BOOL, "`?`")
            found = self._either()
            self._need(":")
            other = self.expression()
            if found != other:
                raise Wrong(f"`? :` gives {found} here, and {other} there")
        self._depth -= 1
        return found

    def _either(self) -> Type:
        found = self._both()
        while self._skip("||"):
            self._want(found, BOOL, "`||`")
            self._want(self._both(), BOOL, "`||`")
        return found

    def _both(self) -> Type:
        found = self._relation()
        while self._skip("&&"):
            self._want(found, BOOL, "`&&`")
            self._want(self._relation(), BOOL, "`&&`")
        return found

    def _relation(self) -> Type:
        first = self._at
        found = self._sum()
        while sign := self._skip(*_RELATIONS):
            if sign == "in" and self._is_map():
                self._presence(first)
            else:
                relate(found, sign, self._sum())
            found = BOOL
        return found

    def _sum(self) -> Type:
        found = self._product()
        while sign := self._skip("+", "-"):
            found = calculated(found, sign, self._product())
        return found

    def _product(self) -> Type:
        found = self._unary()
        while sign := self._skip("*", "/", "%"):
            found = calculated(found, sign, self._unary())
        return found

    def _unary(self) -> Type:
        sign = self._skip("!", "-")
        while sign and self._skip(sign):
            pass
        found = self._member()
        if sign == "!":
            self._want(found, BOOL, "`!`")
        elif sign and found not in NUMBERS:
            raise Wrong(f"`-` needs a number; it gets {found}")
        return found

    def _member(self) -> Type:
        found = self._primary()
        while sign := self._skip(".", "["):
            if sign == "[":
                self._want(self.expression(), INT, "`[]`")
                self._need("]")
                if not found.many:
                    raise Wrong(f"`[]` needs a list; it gets {found}")
                found = Type(found.kind)
            else:
                found = self._method(found)
        return found

    def _primary(self) -> Type:
        token = self._take()
        match token.sort:
            case "number":
                return FLOAT if re.search(r"[.eE]", token.text) and token.text[1:2] != "x" else INT
            case "text":
                return TEXT
            case "name" if token.text in ("true", "false"):
                return BOOL
            case "name" if self._skip("("):
                return self._function(token)
            case "name":
                return self._reference(token)
            case "sign" if token.text == "(":
                found = self.expression()
                self._need(")")
                return found
            case "sign" if token.text == "[":
                return self._list()
            case _:
                self._at -= token.sort != "end"
                raise self._unexpected("a value")

    def _list(self) -> Type:
        found = self.expression()
        while self._skip(","):
            if not alike(found, other := self.expression()):
                raise Wrong(f"a list has {found} and {other}")
        self._need("]")
        if found.many:
            raise Wrong("a list may not hold lists")
        return Type(found.kind, many=True)

    def _function(self, token: Token) -> Type:
        match token.text:
            case "has":
                return self._has(token)
            case "size":
                return self._sized(self._argument())
            case name if name in _CONVERTERS:
                found = self._argument()
                if found not in (INT, FLOAT, TEXT):
                    raise Wrong(f"`{name}()` needs a number or text; it gets {found}")
                return _CONVERTERS[name]
            case name:
                raise Wrong(
                    f"there is no function `{name}()`; the nearest is `{nearest(name, _FUNCTIONS)}()`"
                )

    def _argument(self) -> Type:
        found = self.expression()
        self._need(")")
        return found

    def _sized(self, found: Type) -> Type:
        if found != TEXT and not found.many:
            raise Wrong(f"`size()` needs text or a list; it gets {found}")
        return INT

    def _method(self, found: Type) -> Type:
        token = self._name()
        if not self._skip("("):
            raise Wrong(f"`.{token.text}` at character {token.start}: {found} has no fields")
        name = token.text
        if name in _WALKS:
            return self._walk(name, found)
        if name == "size":
            self._need(")")
            return self._sized(found)
        if name not in _METHODS:
            raise Wrong(
                f"there is no method `.{name}()`; the nearest is `.{nearest(name, _METHODS)}()`"
            )
        self._want(found, TEXT, f"`.{name}()`")
        if name == "matches":
            self._pattern(token)
        else:
            self._want(self.expression(), TEXT, f"`.{name}()`")
            self._need(")")
        return BOOL

    def _pattern(self, method: Token) -> None:
        """Becomes a call of our own, without arguments: the library compiles a pattern at each look."""
        literal = self._take()
        if literal.sort != "text" or self._now.text != ")":
            raise Wrong("`.matches()` needs its pattern as one text in quotes")
        self._edits.append((method.start, literal.end, f"_m{len(self._patterns)}("))
        self._patterns.append(_literal(literal))
        self._need(")")

    def _walk(self, name: str, found: Type) -> Type:
        if not found.many:
            raise Wrong(f"`.{name}()` needs a list; it gets {found}")
        if self._bound is not None:
            raise Wrong(f"`.{name}()` may not stand inside of another of its kind")
        variable = self._name().text
        if variable[0] == "_" or variable in (*DECLARED, *MAPS, "true", "false"):
            raise Wrong(f"`{variable}` cannot be a variable of `.{name}()`: take another name")
        self._need(",")
        self._bound = (variable, Type(found.kind))
        inner = self._argument()
        self._bound = None
        if name == "map":
            if inner.many:
                raise Wrong("a list may not hold lists")
            return Type(inner.kind, many=True)
        self._want(inner, BOOL, f"`.{name}()`")
        return found if name == "filter" else BOOL

    def _reference(self, root: Token) -> Type:
        if self._bound is not None and root.text == self._bound[0]:
            return self._bound[1]
        if root.text not in DECLARED and root.text not in MAPS:
            raise undeclared(root.text + (f".{self._key()[0]}" if self._now.text == "." else ""))
        key, end = self._key(root.text)
        if self._now.text == "(":
            raise Wrong(f"`{root.text}` has no methods: name one field, as in `{root.text}.name`")
        return self._slot(root.start, end, root.text, key, asks=False)

    def _key(self, root: str = "") -> tuple[str, int]:
        """The field's name behind a root, and where it ends."""
        if self._skip("."):
            token = self._name()
            return token.text, token.end
        if self._skip("[") and self._now.sort == "text":
            key = _literal(self._take())
            return key, self._need("]").end
        example = '["name"]' if root in MAPS else f".{next(iter(DECLARED[root]))}"
        raise Wrong(f"`{root}` stands alone: name one field, as in `{root}{example}`")

    def _has(self, function: Token) -> Type:
        root = self._name()
        if root.text not in MAPS or not self._skip("."):
            raise Wrong(f"`has()` needs a name in {' or '.join(MAPS)}, as in `has(labels.name)`")
        key = self._name().text
        return self._slot(function.start, self._need(")").end, root.text, key, asks=True)

    def _is_map(self) -> bool:
        return self._now.text in MAPS and self._all[self._at + 1].text not in (".", "[", "(")

    def _presence(self, first: int) -> None:
        """`"name" in headers`."""
        root = self._take()
        key = self._all[first]
        if key.sort != "text" or self._all[first + 1].text != "in":
            raise Wrong(f"`in {root.text}` needs a name in quotes before it, and brackets around")
        self._slot(key.start, root.end, root.text, _literal(key), asks=True)

    def _slot(self, start: int, end: int, root: str, key: str, *, asks: bool) -> Type:
        if root == "headers":
            key = key.lower()
            if may_be_credential(key):
                raise Wrong(f"`headers` never hold what may be a credential, as {key[:64]!r} may")
        elif root in DECLARED and key not in DECLARED[root]:
            raise undeclared(f"{root}.{key}")
        kind = BOOL if asks else DECLARED[root][key] if root in DECLARED else TEXT
        slot = self._slots.get((root, key, asks))
        if slot is None:
            slot = Slot(f"_{len(self._slots)}", root, key, kind, asks)
            self._slots[root, key, asks] = slot
        self._edits.append((start, end, slot.name))
        return kind
