"""What `models:` and `routing:` mean: each form with the structs that it becomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs, to_builtins
from ruamel.yaml import YAML

from extproc.config.load import decode, encode, load
from extproc.config.model_keys import ROUTING, TRIGGERS
from extproc.config.parameters import CAPS, EFFORTS, PARAMETERS
from extproc.config.reference import schema
from extproc.config.report import check_report
from extproc.config.schema import (
    Breaker,
    DrawBy,
    ModelRoute,
    Retry,
    RetryBudget,
    Routing,
    Settings,
    Shadow,
    Strategy,
    TargetRef,
    Window,
)
from extproc.config.shapes import Block, Choice, Either, Flag, Number
from extproc.model.call import Failure

PROVIDERS = """\
providers:
  openai:
  azure: {endpoint: "https://a.example", api_key: "${K}"}
  router: {dialect: openai_chat, endpoint: "https://r.example", models: ["*"]}
"""
A = TargetRef(provider="openai", model="gpt-4o")
B = TargetRef(provider="azure", model="gpt-4o")
VALIDATOR = jsonschema.Draft202012Validator(schema({}))


def loads(folder: Path, text: str, **env: str) -> Settings:
    """The settings of a file that the JSON Schema takes too, sent to a child and back."""
    file = folder / "sluice.yaml"
    file.write_text(PROVIDERS + text)
    document: Any = YAML(typ="safe", pure=True).load(file.read_text())  # type: ignore[no-untyped-call]
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []
    made = load(file, {"K": "key-of-azure", **env})
    assert decode(encode(made)) == made
    return made


def model(folder: Path, text: str, **env: str) -> ModelRoute:
    (route,) = loads(folder, f"models:\n  {text}\n", **env).models.values()
    return route


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("m: openai/gpt-4o", ((A,),)),
        ("m: [openai/gpt-4o]", ((A,),)),
        ("m: [{provider: openai, model: gpt-4o}, azure/gpt-4o]", ((A,), (B,))),
        ("m: {targets: [openai/gpt-4o, {provider: azure, model: gpt-4o}]}", ((A, B),)),
        ("m: {groups: [[openai/gpt-4o], [azure/gpt-4o, openai/gpt-4o]]}", ((A,), (B, A))),
        ("m: {groups: [[openai/gpt-4o], [openai/gpt-4o]]}", ((A,), (A,))),
    ],
)
def test_a_model_has_groups_of_targets(
    tmp_path: Path, text: str, groups: tuple[tuple[TargetRef, ...], ...]
) -> None:
    assert model(tmp_path, text) == ModelRoute(groups=groups)


def test_the_short_form_ends_the_provider_at_the_first_slash(tmp_path: Path) -> None:
    (target,) = model(tmp_path, "m: router/meta-llama/Llama-3.3-70B:free").targets
    assert (target.provider, target.model) == ("router", "meta-llama/Llama-3.3-70B:free")


def test_the_short_form_takes_variables(tmp_path: Path) -> None:
    assert model(tmp_path, "m: 'openai/${M:-gpt-4o}'").targets == (A,)
    (target,) = model(tmp_path, "m: '${P}/gpt-4o'", P="azure").targets
    assert target == B


@pytest.mark.parametrize("name", ["openai/*", "*", "gpt-*", "my/chat", "ft:gpt-4o:acme", "a" * 128])
def test_names(tmp_path: Path, name: str) -> None:
    assert list(loads(tmp_path, f'models: {{"{name}": openai/gpt-4o}}').models) == [name]


def test_a_star_stands_for_what_the_name_took_in(tmp_path: Path) -> None:
    text = '"openai/*": [openai/*, {provider: azure, model: "*"}]'
    assert [one.model for one in model(tmp_path, text).targets] == ["*", "*"]


def test_all_that_a_target_may_say(tmp_path: Path) -> None:
    text = """m:
    strategy: weighted
    targets:
      - provider: openai
        model: gpt-4o
        weight: 0.5
        label: a
        set: {temperature: 0, user: "7", store: false, reasoning.effort: low}
        default: {max_tokens: 100, seed: 7, verbosity: low}
        cap: {max_tokens: 4096, top_p: 0.9}
      - {provider: azure, model: gpt-4o, weight: 0}"""
    full, none = model(tmp_path, text).targets
    assert full == TargetRef(
        provider="openai",
        model="gpt-4o",
        weight=0.5,
        label="a",
        set={"temperature": 0, "user": "7", "store": False, "reasoning.effort": "low"},
        default={"max_tokens": 100, "seed": 7, "verbosity": "low"},
        cap={"max_tokens": 4096, "top_p": 0.9},
    )
    assert isinstance(full.cap["max_tokens"], int)
    assert none.weight == 0.0


def test_a_condition_is_kept_as_it_is_written(tmp_path: Path) -> None:
    when = 'request.tokens > ${LIMIT:-8000} && caller.team == "a"'
    text = f"m: [{{provider: openai, model: gpt-4o, when: '{when}'}}, azure/gpt-4o]"
    assert [one.when for one in model(tmp_path, text).targets] == [
        'request.tokens > 8000 && caller.team == "a"',
        "",
    ]


def test_all_that_a_model_may_say(tmp_path: Path) -> None:
    text = """m:
    strategy: weighted
    by: caller
    targets: [openai/gpt-4o]
    window: {seconds: 250ms, bytes: 1KiB}
    retry: {attempts: 10, on: [rate_limit, content_filter], same: 2, base: 1s, longest: 8s}
    deadline: 1m
    shadow: {provider: azure, model: gpt-4o, percent: 0.5}"""
    assert model(tmp_path, text) == ModelRoute(
        groups=((A,),),
        strategy=Strategy.WEIGHTED,
        by=DrawBy.CALLER,
        window=Window(seconds=0.25, bytes=1024),
        retry=Retry(
            attempts=10,
            on=(Failure.RATE_LIMIT, Failure.CONTENT_FILTER),
            same=2,
            base=1.0,
            longest=8.0,
        ),
        deadline=60.0,
        shadow=Shadow(provider="azure", model="gpt-4o", percent=0.5),
    )


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("window: {}", Window()),
        ("window: ", Window()),
        ("window: {seconds: 60}", Window(seconds=60.0)),
        ("window: {bytes: 1MiB}", Window(bytes=1024 * 1024)),
    ],
)
def test_windows(tmp_path: Path, text: str, window: Window) -> None:
    assert model(tmp_path, f"m:\n    targets: [openai/gpt-4o]\n    {text}").window == window


def test_a_short_shadow(tmp_path: Path) -> None:
    route = model(tmp_path, "m: {targets: [openai/gpt-4o], shadow: azure/gpt-4o}")
    assert route.shadow == Shadow(provider="azure", model="gpt-4o", percent=100.0)


def test_what_a_retry_leaves_out_is_that_of_routing(tmp_path: Path) -> None:
    text = """models:
  number: {targets: [openai/gpt-4o], retry: 1}
  block: {targets: [openai/gpt-4o], retry: {on: []}}
  none: openai/gpt-4o
routing: {retry: {attempts: 5, base: 2s}}
"""
    made = loads(tmp_path, text)
    usual = Retry(attempts=5, base=2.0)
    assert made.routing.retry == usual
    assert made.models["number"].retry == structs.replace(usual, attempts=1)
    assert made.models["block"].retry == structs.replace(usual, on=())
    assert made.models["none"].retry is None


def test_routing(tmp_path: Path) -> None:
    text = """routing:
  retry: 4
  budget: {percent: 12.5, minimum: 0}
  breaker: {failures: 2, error_rate: 1, minimum: 5, slow: 8s, slow_rate: 0.1, window: 1m, open: 500ms, trials: 3}
  deadline: 90s
  longest_cooldown: 10m
"""
    assert loads(tmp_path, text).routing == Routing(
        retry=Retry(attempts=4),
        budget=RetryBudget(percent=12.5, minimum=0),
        breaker=Breaker(
            failures=2,
            error_rate=1,
            minimum=5,
            slow=8.0,
            slow_rate=0.1,
            window=60.0,
            open=0.5,
            trials=3,
        ),
        deadline=90.0,
        longest_cooldown=600.0,
    )


@pytest.mark.parametrize(
    "text", ["", "routing:\n", "routing: {retry: {}, breaker: , budget: {}}\n"]
)
def test_no_routing_is_the_defaults(tmp_path: Path, text: str) -> None:
    assert loads(tmp_path, text).routing == Routing()


def _defaults(block: Block) -> dict[str, object]:
    """The defaults that the page names for the keys of a block."""
    found: dict[str, object] = {}
    for name, one in block.fields.items():
        inner = one.shape.forms[-1] if isinstance(one.shape, Either) else one.shape
        if isinstance(inner, Block):
            found[name] = _defaults(inner)
        elif one.default[:1].isdigit():
            bare = one.default.replace(".", "").isdigit()
            found[name] = json.loads(one.default) if bare else one.default
    return found


def test_the_page_names_the_true_defaults(tmp_path: Path) -> None:
    named = _defaults(ROUTING)
    assert loads(tmp_path, f"routing: {json.dumps(named)}").routing == Routing()
    assert named["retry"] == {"attempts": 3, "same": 0, "base": "250ms", "longest": "4s"}
    assert set(TRIGGERS) - set(Retry().on) == {"content_filter", "context_length", "bad_output"}


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            "m: {targets: [openai/gpt-4o, {provider: openai, model: gpt-4o}]}",
            "models.m.targets[1]: openai/gpt-4o is in this group a second time",
        ),
        (
            "m: {strategy: weighted, targets: [{provider: openai, model: gpt-4o, weight: 9}, openai/gpt-4o]}",
            "models.m.targets[1]: openai/gpt-4o is in this group a second time",
        ),
        (
            "m: {strategy: least_cost, targets: [{provider: openai, model: gpt-4o, weight: 2}]}",
            "models.m.targets[0].weight: not used: strategy least_cost looks at no weights; weighted, sticky or order does",
        ),
        (
            "m: {by: caller, targets: [openai/gpt-4o]}",
            "models.m.by: not used: strategy order draws nothing without weights",
        ),
        (
            "m: [{provider: openai, model: gpt-4o, set: {n: 1}, cap: {n: 2}}]",
            "models.m[0].cap.n: not used: `set:` has it too, and counts for every request",
        ),
    ],
)
def test_what_is_most_likely_not_meant(tmp_path: Path, text: str, warning: str) -> None:
    said = loads(tmp_path, f"models:\n  {text}\n").warnings
    assert [one for one in said if one.startswith("models.")] == [warning]


def test_targets_that_differ_are_no_duplicates(tmp_path: Path) -> None:
    text = """m:
    targets:
      - openai/gpt-4o
      - {provider: openai, model: gpt-4o, label: b}
      - {provider: openai, model: gpt-4o, label: c, set: {temperature: 0}}"""
    warnings = loads(tmp_path, f"models:\n  {text}\n").warnings
    assert not [one for one in warnings if one.startswith("models.")]


def test_a_shadow_alone_uses_a_provider(tmp_path: Path) -> None:
    text = "models: {m: {targets: [openai/gpt-4o], shadow: other/x}}\n"
    file = tmp_path / "sluice.yaml"
    other = "providers:\n  openai:\n  other: {dialect: openai_chat, endpoint: 'http://o.example'}\n"
    file.write_text(other + text)
    assert load(file, {"OPENAI_API_KEY": "x"}).warnings == ()


def test_the_report_says_how_a_model_chooses(tmp_path: Path) -> None:
    text = """models:
  best: [openai/gpt-4o, azure/gpt-4o]
  chat:
    strategy: weighted
    by: session
    groups:
      - - {provider: openai, model: gpt-4o, weight: 9, label: a, cap: {n: 1, top_p: 1}}
        - azure/gpt-4o
      - [router/x]
    window: {}
    retry: 5
    deadline: 90s
    shadow: {provider: router, model: y, percent: 2.5}
"""
    report = check_report(loads(tmp_path, text))
    assert "  best: openai/gpt-4o; then azure/gpt-4o\n" in report
    assert (
        "  chat: weighted by session: openai/gpt-4o (weight 9, label a, caps n, top_p), azure/gpt-4o; "
        "then router/x; window 2s or 64KiB; 5 attempts; deadline 90s; copies of 2.5% to router/y\n"
    ) in report


NUMBERS = st.floats(0.001, 50).map(lambda one: round(one, 3))
VALUES = {
    name: st.booleans()
    if isinstance(one.shape, Flag)
    else st.sampled_from(one.shape.values)
    if isinstance(one.shape, Choice)
    else st.just(1)
    if isinstance(one.shape, Number)
    else st.sampled_from(["a", "true", "12"])
    for name, one in PARAMETERS.items()
}
TARGETS = st.builds(
    TargetRef,
    provider=st.sampled_from(["openai", "azure", "router"]),
    model=st.sampled_from(["gpt-4o", "a/b", "*"]),
    weight=NUMBERS,
    set=st.fixed_dictionaries({}, optional=VALUES),
    default=st.fixed_dictionaries({}, optional=VALUES),
    cap=st.fixed_dictionaries({}, optional={name: st.just(1) for name in CAPS}),
)
ROUTES = st.builds(
    ModelRoute,
    groups=st.lists(
        st.lists(TARGETS, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3
    ).map(tuple),
    strategy=st.sampled_from(Strategy),
    by=st.sampled_from(DrawBy),
    window=st.none() | st.builds(Window, seconds=NUMBERS, bytes=st.integers(1024, 1 << 20)),
    retry=st.none()
    | st.builds(
        Retry,
        attempts=st.integers(1, 10),
        on=st.lists(st.sampled_from(TRIGGERS).map(Failure)).map(tuple),
        same=st.integers(0, 9),
        base=st.just(0.5),
        longest=NUMBERS.map(lambda one: one + 1),
    ),
    deadline=st.none() | NUMBERS,
    shadow=st.none()
    | st.builds(Shadow, provider=st.just("azure"), model=st.just("x"), percent=NUMBERS),
)


@settings(max_examples=60, deadline=None)
@given(route=ROUTES)
def test_a_route_that_is_written_is_read_again(
    route: ModelRoute, tmp_path_factory: pytest.TempPathFactory
) -> None:
    block = {key: one for key, one in to_builtins(route).items() if one is not None}
    for group in block["groups"]:
        for target in group:
            for key in ("label", "when"):
                target.pop(key)
    text = "models: " + json.dumps({"m*": block})
    assert loads(tmp_path_factory.mktemp("route"), text).models == {"m*": route}


def test_a_key_says_its_team_and_tags(tmp_path: Path) -> None:
    text = "keys: [{name: a, key: '${A}', team: search, tags: [batch, eu]}, {name: b, key: '${B}'}]"
    a, b = loads(tmp_path, text, A="a" * 20, B="b" * 20).keys
    assert (a.team, a.tags) == ("search", ("batch", "eu"))
    assert (b.team, b.tags) == ("", ())


def test_the_parameters_are_those_of_the_model() -> None:
    assert {"temperature", "max_tokens", "reasoning.effort", "parallel_tool_calls"} <= set(
        PARAMETERS
    )
    assert EFFORTS[0] == "none"
    assert "seed" not in CAPS
    assert all(isinstance(one.shape, Number) for one in CAPS.values())
