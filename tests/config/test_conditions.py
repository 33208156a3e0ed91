"""Conditions: what holds, what is refused when the configuration loads, and that nothing raises later."""

from __future__ import annotations

import time
from typing import Any

import cel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.config.conditions import Condition, check
from extproc.config.declared import BOOL, DECLARED, INT, TEXT, Kind, Type
from extproc.config.expressions import LONGEST

FACTS: dict[str, dict[str, Any]] = {
    "caller": {"name": "ann", "role": "caller", "team": "search", "tags": ("gold", "eu-1")},
    "request": {
        "model": "gpt-4o",
        "tokens": 5000,
        "bytes": 20_000,
        "max_output": 100,
        "tools": True,
        "images": False,
        "json_schema": False,
        "reasoning": False,
        "stream": True,
        "dialect": "openai_chat",
        "turns": 3,
        "language": "de",
    },
    "headers": {"x-tier": "gold", "user-agent": "curl/8", "x-size": "12"},
    "labels": {"sensitivity": "high"},
    "time": {"hour": 23, "minute": 5, "weekday": "sat", "unix": 1_760_000_000},
}

HOLD = [
    "true",
    "request.tokens > 4000 && caller.team == 'search' && !request.images",
    "request.tokens>4000?true:false",
    'request["tokens"] >= 5000',
    "request.tokens > 4999.5",
    "request.tokens * 2 - 1 == 9999 && request.tokens % 2 == 0 && -request.tokens < 0",
    "'gold' in caller.tags",
    "size(caller.tags) == 2 && caller.tags.size() == 2 && caller.tags[0] == 'gold'",
    "caller.tags.exists(t, t.startsWith('eu-'))",
    "caller.tags.filter(t, t.startsWith('eu-')).size() == 1",
    "caller.tags.map(t, size(t)).exists(n, n == 4)",
    "caller.tags.all(request_, request_ != 'tin') && caller.tags.exists_one(t, t == 'gold')",
    "request.language in ['de', 'fr'] && time.hour in [22, 23, 0]",
    "time.weekday in ['sat', 'sun'] || time.hour < 7",
    'headers["x-tier"] == "gold" && headers["X-Tier"] == r"gold"',
    '"x-tier" in headers && !("x-none" in headers)',
    'headers["x-none"] == "1" || request.stream',
    'request.stream || headers["x-none"] == "1"',
    "has(labels.sensitivity) && labels.sensitivity == 'high' && !has(labels.other)",
    "int(headers['x-size']) > 10 && string(request.turns) == '3' && double(request.turns) > 2.5",
    "request.model.matches('^gpt-[0-9]') && request.model.matches(r'^gpt-\\d\\w$')",
    "request.model.matches('^gpt-\\\\d') && request.model.contains('4') && request.model.endsWith('o')",
    'caller.name == "ann" // "request.nope" in a comment',
    "caller.name\n  == 'ann'",
    "caller.name != 'request.nope' && 'a\\'b' != \"headers['authorization']\"",
    "!!request.stream && !(((false)))",
]
HOLD_NOT = [
    "request.tokens > 5000",
    'headers["x-none"] == "1"',
    '!(headers["x-none"] == "1")',
    "labels['none'].startsWith('x')",
    "1 / (request.turns - 3) > 0",
    "int(headers['user-agent']) > 10",
    "caller.tags[9] == 'gold'",
    "9223372036854775807 + request.turns > 0",
    "request.model.matches('^claude')",
    "size(request.model) * 9223372036854775807 > 0",
]


@pytest.mark.parametrize("text", HOLD)
def test_it_holds(text: str) -> None:
    assert check(text) is None
    assert Condition.compile(text).holds(FACTS) is True


@pytest.mark.parametrize("text", HOLD_NOT)
def test_it_does_not_hold_and_what_cannot_be_evaluated_neither(text: str) -> None:
    assert Condition.compile(text).holds(FACTS) is False


REFUSED = [
    ("request.token > 3", "`request.token` is not known; the nearest is `request.tokens`"),
    ("requst.tokens > 3", "`requst.tokens` is not known; the nearest is `request.tokens`"),
    ("true || caller['nam'] == 'a'", "`caller.nam` is not known; the nearest is `caller.name`"),
    ("caller.tags.exists(t, x == t)", "`x` is not known"),
    ("caller.tags.exists(t, true) && t == 'a'", "`t` is not known"),
    ("label.x == '1'", "the nearest is `labels"),
    ("request == request", "`request` stands alone"),
    ("size(headers) > 3", "`headers` stands alone"),
    ("headers[caller.name] == '1'", "`headers` stands alone"),
    ("caller.name in headers", "needs a name in quotes"),
    ("'b' == 'x' in headers", "needs a name in quotes"),
    ("headers.exists(h, h == 'a')", "`headers` has no methods"),
    ("request.tokens.nope > 3", "a whole number has no fields"),
    ("caller.tags.exists(t, t.nope == 'a')", "text has no fields"),
    ("request.model.startWith('g')", "the nearest is `.startsWith()`"),
    ("siz(caller.tags) > 1", "the nearest is `size()`"),
    ("matches(request.model, 'a')", "there is no function `matches()`"),
    ("timestamp('2024-01-01T00:00:00Z') > timestamp('2023-01-01T00:00:00Z')", "no function"),
    ("request.tokens", "it must be true or false; it is a whole number"),
    ("caller.tags.map(t, t)", "it is a list (text)"),
    ("'true'", "it must be true or false; it is text"),
    ("request.tokens > '5'", "`>` cannot compare a whole number with text"),
    ("request.tokens == '5'", "`==` cannot compare a whole number with text"),
    ("request.images && request.model > 5", "`>` cannot compare text with a whole number"),
    ("request.images || request.tokens", "`||` needs true or false; it gets a whole number"),
    ("request.tokens ? true : false", "`?` needs true or false"),
    ("request.tools ? 1 : 'a' == 'a'", "`? :` gives a whole number here, and true or false there"),
    ("!request.tokens", "`!` needs true or false"),
    ("-request.model == 'a'", "`-` needs a number"),
    ("request.model + 'a' == 'b'", "`+` cannot calculate with text and text"),
    ("request.tokens + 1.5 > 3.0", "`+` cannot calculate"),
    ("5 in caller.tags", "`in` cannot compare"),
    ("'a' in caller.name", "`in` cannot compare"),
    ("[1, 'a'].exists(x, true)", "a list has a whole number and text"),
    ("[[1]].exists(x, true)", "a list may not hold lists"),
    ("[].exists(x, true)", "a value should be"),
    ("caller.name.exists(c, true)", "`.exists()` needs a list"),
    ("caller.tags.exists(t, size(t))", "`.exists()` needs true or false"),
    ("caller.tags.exists(a, caller.tags.exists(b, a == b))", "inside of another"),
    ("caller.tags.exists(request, true)", "cannot be a variable"),
    ("caller.tags.exists(_0, true)", "cannot be a variable"),
    ("request.model.matches(caller.name)", "its pattern as one text in quotes"),
    ("request.model.matches('(((')", "is broken, or too big"),
    ("request.model.matches('(.{9}){9}.{9}')", "multiply to 100 at most"),
    ("request.model.matches(r'\\pL')", "not known in patterns"),
    (f"request.model.matches('{'a' * 201}')", "at most 200 characters"),
    ("request.model.matches('\\d')", r'write `\\d`, or r"..." around it'),
    ("has(request.model)", "`has()` needs a name in headers or labels"),
    ("has(headers['x'])", "`has()` needs a name"),
    ("request.tokens > 3 and true", "`and` at character 20 comes where something else should be"),
    ("request.tokens = 3", "character 16, '=', is not understood"),
    ("request.tokens >", "its end comes where a value should be"),
    ("", "its end comes where a value should be"),
    ("(true", "its end comes where `)` should be"),
    ("null == null", "`null` is not known"),
    ("1u == 1u", "comes where"),
    ("{'a': 1}.a == 1", "character 1, '{', is not understood"),
    (".caller.name == 'a'", "a value should be"),
    ("99999999999999999999 > 1", "a number or a text in it is not CEL's"),
    ("caller.name == '\\q'", "a number or a text in it is not CEL's"),
    ("(" * 25 + "true" + ")" * 25, "more than 24 brackets within brackets"),
    ("true" + " " * LONGEST, f"it has {LONGEST + 4} characters; {LONGEST} are the most"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_what_is_wrong_is_said_when_it_is_compiled(text: str, said: str) -> None:
    assert said in (check(text) or "")
    with pytest.raises(ValueError, match=r"^.+$") as caught:
        Condition.compile(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "X-Api-Key",
        "api-key",
        "x-goog-api-key",
        "cookie",
        "proxy-authorization",
        "x-amz-date",
        "x-amz-security-token",
        "x-auth-token",
        "x-client-secret",
        ":path",
        ":authority",
    ],
)
def test_no_condition_can_ask_for_a_credential(name: str) -> None:
    assert "credential" in (check(f'headers["{name}"] == "x"') or "")
    assert "credential" in (check(f'"{name}" in headers') or "")


def test_only_what_it_names_is_looked_up_and_absent_fields_have_defaults() -> None:
    condition = Condition.compile(
        "request.tokens == 0 && caller.team == '' && !request.tools && size(caller.tags) == 0"
    )
    assert condition.holds({})
    assert {(slot.root, slot.key) for slot in condition.slots} == {
        ("request", "tokens"),
        ("caller", "team"),
        ("request", "tools"),
        ("caller", "tags"),
    }


def test_a_name_in_the_library_is_ascii_in_patterns() -> None:
    condition = Condition.compile(r"request.model.matches(r'^[\d.]+\b[^\W]?$')")
    assert condition.holds({"request": {"model": "4.1"}})
    assert not condition.holds({"request": {"model": "٤"}})


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+b", "(.*.*.*.*x){8}", "([a-z]{10}){10}b"])
def test_no_pattern_runs_away(pattern: str) -> None:
    """Of a megabyte: one that backtracks would need longer than the universe."""
    condition = Condition.compile(f"headers['x'].matches('{pattern}')")
    began = time.perf_counter()
    assert condition.holds({"headers": {"x": "a" * 1_000_000 + "!"}}) is False
    assert time.perf_counter() - began < 5


def _made(*atoms: str, of: dict[str, Any]) -> st.SearchStrategy[str]:
    """Texts of one kind: `of` are forms, with the kinds that fill them, from left to right."""
    forms = [
        st.tuples(st.just(form), *parts).map(lambda made: made[0].format(*made[1:]))
        for form, parts in of.items()
    ]
    return st.one_of(st.sampled_from(atoms), st.sampled_from(atoms), *forms)


def _named(kind: Type) -> list[str]:
    return [f"{root}.{name}" for root, of in DECLARED.items() for name in of if of[name] == kind]


_BOOLS: st.SearchStrategy[str] = st.deferred(
    lambda: _made(
        *_named(BOOL),
        *("true", "'x-tier' in headers", "'x-none' in headers", "has(labels.sensitivity)"),
        of={
            "{} && {}": (_BOOLS, _BOOLS),
            "({}) || {}": (_BOOLS, _BOOLS),
            "!({})": (_BOOLS,),
            "!{}": (_BOOLS,),
            "{} == {}": (_BOOLS, _BOOLS),
            "({} ? {} : {})": (_BOOLS, _BOOLS, _BOOLS),
            "{} < {}": (_INTS, _INTS),
            "{} >= {}": (_STRINGS, _STRINGS),
            "{} in [{}, {}]": (_INTS, _INTS, _INTS),
            "{} in caller.tags": (_STRINGS,),
            "{}.startsWith({})": (_STRINGS, _STRINGS),
            "{}.matches('^g|[0-9]+')": (_STRINGS,),
            "caller.tags.exists(t, t == {})": (_STRINGS,),
            "[{}, 1].all(n, n > {})": (_INTS, _INTS),
        },
    )
)
_INTS: st.SearchStrategy[str] = st.deferred(
    lambda: _made(
        *_named(INT),
        *("0", "-1", "3", "9223372036854775807"),
        of={
            "{} + {}": (_INTS, _INTS),
            "({} - {})": (_INTS, _INTS),
            "{} * {}": (_INTS, _INTS),
            "{} / {}": (_INTS, _INTS),
            "{} % {}": (_INTS, _INTS),
            "-({})": (_INTS,),
            "size({})": (_STRINGS,),
            "int({})": (_STRINGS,),
            "({} ? {} : {})": (_BOOLS, _INTS, _INTS),
            "caller.tags.filter(t, t != {}).size()": (_STRINGS,),
        },
    )
)
_STRINGS: st.SearchStrategy[str] = st.deferred(
    lambda: _made(
        *_named(TEXT),
        *("headers['x-tier']", "headers['x-none']", "labels.sensitivity", "labels['none']"),
        *("'gold'", "''", "'1'"),
        of={"caller.tags[{}]": (_INTS,), "string({})": (_INTS,)},
    )
)
"""kinds fit but for what operators without brackets tear apart"""
_OF_KIND = {
    Kind.BOOL: st.booleans(),
    Kind.INT: st.integers(),
    Kind.FLOAT: st.floats(),
    Kind.TEXT: st.text(max_size=20),
}
_SURROGATES = st.text(st.characters(), max_size=5)
_STRANGE = st.one_of(st.none(), st.floats(), st.binary(max_size=3), st.just(object()), _SURROGATES)


def _fields(root: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {},
        optional={
            name: st.one_of(
                st.lists(_OF_KIND[kind.kind], max_size=3).map(tuple)
                if kind.many
                else _OF_KIND[kind.kind],
                _STRANGE,
            )
            for name, kind in DECLARED[root].items()
        },
    )


_MAP = st.dictionaries(st.sampled_from(["x-tier", "sensitivity"]), _SURROGATES)
_FACTS = st.fixed_dictionaries(
    {root: _fields(root) for root in DECLARED} | {"headers": _MAP, "labels": _MAP}
)


@given(st.one_of(_BOOLS, st.text(max_size=30)), _FACTS)
@settings(max_examples=600, deadline=None)
def test_nothing_raises_whatever_is_asked_of_whatever_facts(text: str, facts: Any) -> None:
    if check(text) is None:
        condition = Condition.compile(text)
        assert condition.holds(facts) in (True, False)
        assert condition.holds({}) in (True, False)


@given(_BOOLS)
@settings(max_examples=400, deadline=None)
def test_it_means_what_the_library_makes_of_the_words_as_they_stand(text: str) -> None:
    """The references' variables change nothing: also not what belongs to what."""
    if check(text) is not None:
        return
    try:
        plain = cel.compile(text).execute(cel.Context(FACTS)) is True
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
        plain = False
    assert Condition.compile(text).holds(FACTS) is plain
