"""Rankings: the shapes of Jina, Cohere and Bedrock, each with each.

What is Cohere's alone (its older path, what it carries) is in `test_cohere_other`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.discover import registry
from extproc.model.call import CallId, Target
from extproc.model.dialect import Rendered, ReplyContext, ReplyDecoder, ReplyHead, RequestHead
from extproc.model.embed import Opaque, Rerank
from extproc.model.errors import InvalidRequest, NotFound, Overloaded, RateLimited, Unsupported
from extproc.model.fields import Field
from extproc.model.reply import Event, Failed, Finished, Ranked, Started, Usage, Used

from .reading import assert_cuts_agree, drain, failure, usage

FIXTURES = Path(__file__).parent / "fixtures"
JSON = {"content-type": "application/json"}
DIALECTS = registry().dialects
CONTEXT = ReplyContext(CallId("gw-1"), "mine", 1_772_359_200)
TEXTS = ("bread", "the tide comes in")


@dataclass(frozen=True, slots=True)
class Form:
    """How one language asks for a ranking of `TEXTS`; `model` is what its provider calls it."""

    dialect: str
    path: str
    operation: str
    model: str
    named: bool = True
    """the body names the model, not the path"""

    def ask(self, body: Mapping[str, Any]) -> Any:
        given = {"model": self.model, **body} if self.named else dict(body)
        head = RequestHead("POST", self.path, "", JSON, self.operation)
        return DIALECTS[self.dialect].parse_request(head, json.dumps(given).encode())

    def render(self, request: Any, model: str = "") -> Rendered:
        target = Target("acme", model or self.model, self.dialect)
        return DIALECTS[self.dialect].render_request(request, target)

    def decoder(self, status: int = 200, headers: Mapping[str, str] = JSON) -> ReplyDecoder:
        asked = Rendered("", b"", operation=self.render(self.ask(BASE)).operation)
        return DIALECTS[self.dialect].decoder(ReplyHead(status, headers), asked)

    def decode(self, body: Any, status: int = 200) -> list[Event]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return drain(self.decoder(status), [raw])[0]

    def encode(self, request: Rerank, events: Sequence[Event]) -> Any:
        encoder = DIALECTS[self.dialect].encoder(request, CONTEXT)
        assert encoder.head() == (200, JSON)
        return json.loads(b"".join(encoder.feed(event) for event in events))


BASE: dict[str, Any] = {"query": "tide", "documents": list(TEXTS)}
JINA = Form("openai_chat", "/v1/rerank", "rerank", "jina-reranker-v3")
COHERE = Form("cohere_chat", "/v2/rerank", "rerank", "rerank-v3.5")
OLDER = Form("cohere_chat", "/v1/rerank", "rerank_v1", "rerank-v3.5")
AMAZON = Form(
    "bedrock_converse", "/model/amazon.rerank-v1:0/invoke", "model", "amazon.rerank-v1:0", False
)
COHERE_ON_BEDROCK = replace(
    AMAZON, path="/model/cohere.rerank-v3-5:0/invoke", model="cohere.rerank-v3-5:0"
)
FORMS = {
    "jina": JINA,
    "cohere": COHERE,
    "cohere-v1": OLDER,
    "amazon": AMAZON,
    "cohere-on-bedrock": COHERE_ON_BEDROCK,
}
OBJECTS = [{"text": "bread", "title": "b"}, "the tide comes in"]

forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def fixture(form: Form) -> bytes:
    return (FIXTURES / form.dialect / "rerank.json").read_bytes()


# --- the laws


@forms
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"top_n": 1},
        {"top_n": None, "new": {"a": [1]}},
        {"max_tokens_per_doc": 9, "api_version": 2},
    ],
    ids=str,
)
def test_law_render_of_parse_is_the_same(form: Form, more: dict[str, Any]) -> None:
    """Law 3; and bytes that need no change are the very same object."""
    request = form.ask({**BASE, **more})
    assert (request.query, request.documents, request.top_n) == ("tide", TEXTS, more.get("top_n"))
    again = form.render(replace(request, raw=b""))
    given = {"model": form.model} if form.named else {}
    assert json.loads(again.body) == {**given, **BASE, **more}
    assert form.render(request).body is request.raw


@pytest.mark.parametrize("form", [JINA, OLDER], ids=["jina", "cohere-v1"])
@pytest.mark.parametrize("back", [{}, {"return_documents": True}, {"return_documents": False}])
def test_documents_may_be_objects(form: Form, back: dict[str, bool]) -> None:
    """Jina gives them back if nothing is said, Cohere if it is; an object whole."""
    body = {**BASE, "documents": OBJECTS, **back}
    request = form.ask(body)
    assert request.documents == TEXTS
    again = json.loads(form.render(replace(request, raw=b"")).body)
    assert again == {"model": form.model, **body}
    results = form.encode(request, [Ranked(0, 1), Ranked(1, 0.5), Ranked(7, 0), Finished()])
    found = [one.get("document") for one in results["results"]]
    usual = form is JINA
    shown = back.get("return_documents", usual)
    assert found == ([OBJECTS[0], {"text": TEXTS[1]}, None] if shown else [None] * 3)


@forms
def test_a_reply_is_read_and_written(form: Form) -> None:
    """Laws 1 and 2."""
    body = fixture(form)
    events, raw = drain(form.decoder(), [body])
    assert raw == body
    scores = [one["relevance_score"] for one in json.loads(body)["results"]]
    found = [event for event in events if isinstance(event, Ranked)]
    assert [(one.index, one.score) for one in found] == [(1, scores[0]), (0, scores[1])]
    assert_cuts_agree(form.decoder, body, [1, 7, 50])
    request = form.ask({**BASE, "return_documents": form is JINA} if form.named else BASE)
    again = form.encode(request, events)
    assert {**json.loads(body), "id": 1, "meta": 1} == {**again, "id": 1, "meta": 1}


@forms
def test_law_half_a_reply_is_no_whole_one(form: Form) -> None:
    """Law 4."""
    body = fixture(form).rstrip()
    for end in range(len(body)):
        assert isinstance(drain(form.decoder(), [body[:end]])[0][-1], Failed)


@forms
@settings(max_examples=10, deadline=None)
@given(
    scores=st.lists(st.floats(-20, 20), max_size=4),
    tokens=st.none() | st.integers(0, 1 << 40),
)
def test_law_what_is_written_is_read(form: Form, scores: list[float], tokens: int | None) -> None:
    """Law 2, of any ranking."""
    ranked: list[Event] = [Ranked(i, score) for i, score in enumerate(scores)]
    used = [] if tokens is None else [Used(Usage(fresh=tokens))]
    events = [Started("i", "m"), *ranked, *used, Finished()]
    reply = form.encode(form.ask(BASE), events)
    back = form.decode(reply)
    assert [event for event in back if isinstance(event, Ranked)] == ranked
    found = usage(back)
    assert (None if found is None else found.prompt) == (tokens if form.named else None)


# --- each with each

WANTED = {
    "openai_chat": {"model": "jina-reranker-v3", **BASE, "top_n": 1, "return_documents": False},
    "cohere_chat": {"model": "rerank-v3.5", **BASE, "top_n": 1},
    "bedrock_converse": {**BASE, "top_n": 1},
}


@pytest.mark.parametrize(
    "provider", [JINA, COHERE, AMAZON, COHERE_ON_BEDROCK], ids=lambda form: form.model
)
@forms
def test_any_client_is_answered_by_any_provider(form: Form, provider: Form) -> None:
    request = form.ask({**BASE, "top_n": 1})
    out = provider.render(request)
    if form.dialect != provider.dialect:
        version = {"api_version": 2} if provider is COHERE_ON_BEDROCK else {}
        assert json.loads(out.body) == {**WANTED[provider.dialect], **version}
    else:
        assert json.loads(out.body)["top_n"] == 1
    assert out.dropped == ()
    assert (
        out.path
        == {
            "openai_chat": "/rerank",
            "cohere_chat": form.path if form is OLDER else "/v2/rerank",
            "bedrock_converse": f"/model/{provider.model.replace(':', '%3A')}/invoke",
        }[provider.dialect]
    )
    events, _ = drain(
        DIALECTS[provider.dialect].decoder(ReplyHead(200, JSON), out), [fixture(provider)]
    )
    reply = form.encode(request, events)
    assert [one["index"] for one in reply["results"]] == [1, 0]
    for one in reply["results"]:
        assert one.get("document") == ({"text": TEXTS[one["index"]]} if form is JINA else None)


def test_what_only_one_knows_is_named() -> None:
    asked = JINA.ask({**BASE, "truncate_prompt_tokens": 8, "user": "u", "none": None})
    assert COHERE.render(asked).dropped == ("truncate_prompt_tokens", "user")
    assert JINA.render(COHERE.ask({**BASE, "max_tokens_per_doc": 9})).dropped == (
        "max_tokens_per_doc",
    )
    assert AMAZON.render(COHERE.ask({**BASE, "priority": 3})).dropped == ("priority",)
    assert COHERE.render(COHERE_ON_BEDROCK.ask({**BASE, "api_version": 2})).dropped == (
        "api_version",
    )


def test_bedrock_ranks_with_models_that_rank() -> None:
    with pytest.raises(Unsupported) as refused:
        AMAZON.render(JINA.ask(BASE), "anthropic.claude-sonnet-4-5-20250929-v1:0")
    assert refused.value.param == Field.MODEL


def test_our_member_is_read_and_cut() -> None:
    for form in FORMS.values():
        request = form.ask({**BASE, "sluice": {"user": "u"}})
        assert request.options.user == "u"
        assert "sluice" not in json.loads(form.render(request).body)
        assert "sluice" not in json.loads(form.render(replace(request, raw=b"")).body)


def test_another_name_is_spliced() -> None:
    request = JINA.ask(BASE)
    assert json.loads(JINA.render(request, "bge-reranker").body) == {
        "model": "bge-reranker",
        **BASE,
    }


@pytest.mark.parametrize(
    ("form", "body"),
    [
        (JINA, {**BASE, "documents": ["x", {"image": "https://acme.test/a.png"}]}),
        (JINA, {**BASE, "documents": [{"text": "x", "image": "AA"}]}),
        (JINA, {**BASE, "query": {"image": "AA"}}),
        (AMAZON, {**BASE, "documents": [{"text": "x"}]}),
        (AMAZON, {"queries": []}),
        (replace(AMAZON, path="/model/my-own:0/invoke"), BASE),
    ],
)
def test_what_is_not_translated_is_carried(form: Form, body: dict[str, Any]) -> None:
    request = form.ask(body)
    assert isinstance(request, Opaque)
    assert form.render(request).body == request.raw
    with pytest.raises(Unsupported):
        COHERE.render(request)


# --- what is broken


@pytest.mark.parametrize("form", [JINA, COHERE], ids=["jina", "cohere"])
@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"model": ""}, "model"),
        ({"query": None}, "query"),
        ({"query": 7}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "x"}, "documents"),
        ({"documents": ["x", 7]}, "documents[1]"),
        ({"top_n": 1.5}, "top_n"),
        ({"return_documents": "yes"}, "return_documents"),
        ({"sluice": 7}, "sluice"),
    ],
)
def test_broken_requests_name_the_member(form: Form, more: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as broken:
        form.ask({**BASE, **more})
    assert broken.value.param == param


@forms
@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        b"<html>",
        {"results": {}},
        {"results": [7]},
        {"results": [{"index": 0}]},
        {"results": [{"index": True, "relevance_score": 1}]},
        {"results": [{"index": 0, "relevance_score": False}]},
    ],
    ids=str,
)
def test_rankings_that_are_none(form: Form, body: Any) -> None:
    assert failure(form.decode(body)).status == 502


def test_errors() -> None:
    said = {"error": {"message": "no such model", "type": "invalid_request_error"}}
    assert isinstance(failure(JINA.decode(said, 404)), NotFound)
    # vLLM's own shape; and one that came with status 200
    flat = {"object": "error", "message": "slow down", "type": "rate_limit_error", "code": 429}
    assert isinstance(failure(JINA.decode(flat, 429)), RateLimited)
    assert isinstance(failure(JINA.decode(flat)), RateLimited)
    for form in FORMS.values():
        reply = form.encode(form.ask(BASE), [Started("", ""), Failed(Overloaded("full"))])
        assert "full" in json.dumps(reply)


# --- usage


@pytest.mark.parametrize(
    ("counted", "tokens", "searches"),
    [
        ({"usage": {"total_tokens": 15}}, 15, 0),
        ({"usage": {"prompt_tokens": 9, "total_tokens": 15}}, 15, 0),
        ({"usage": {"prompt_tokens": 9}}, 9, 0),
        ({"usage": {"total_tokens": -1}}, 0, 0),
        ({"meta": {"billed_units": {"search_units": 2}, "tokens": {"input_tokens": 7}}}, 7, 2),
        ({"meta": {"billed_units": {"search_units": 1}}}, 0, 1),
    ],
)
@forms
def test_what_is_billed_wherever_it_is_counted(
    form: Form, counted: dict[str, Any], tokens: int, searches: int
) -> None:
    found = usage(form.decode({"results": [], **counted}))
    assert found is not None
    assert (found.prompt, found.units.search_units) == (tokens, searches)


@forms
@pytest.mark.parametrize("nothing", [{}, {"usage": None}, {"meta": {"tokens": None}}], ids=str)
def test_nothing_is_counted(form: Form, nothing: dict[str, Any]) -> None:
    assert usage(form.decode({"results": [], **nothing})) is None


def test_bedrock_counts_in_its_head() -> None:
    head = {**JSON, "x-amzn-bedrock-input-token-count": "12"}
    events, _ = drain(AMAZON.decoder(headers=head), [fixture(AMAZON)])
    found = usage(events)
    assert found is not None and found.prompt == 12


def test_searches_are_told_to_any_client() -> None:
    events = JINA.decode({"results": [], "meta": {"billed_units": {"search_units": 2}}})
    assert COHERE.encode(COHERE.ask(BASE), events)["meta"]["billed_units"] == {"search_units": 2}
    told = JINA.encode(JINA.ask(BASE), events)["usage"]
    assert told == {"prompt_tokens": 0, "total_tokens": 0, "search_units": 2}


def test_what_is_estimated_is_not_said() -> None:
    guess = Used(Usage(fresh=9, estimated=True))
    assert "usage" not in JINA.encode(JINA.ask(BASE), [guess, Finished()])
