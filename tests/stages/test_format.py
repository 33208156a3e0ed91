"""Plain text: fences go, all else stays, and where a stream is cut changes nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.flow.messages import Continue, Reply
from extproc.model.reply import PartEnded, PartKind, PartStarted, TextDelta
from extproc.model.stage import Stage
from extproc.stages.format import ALWAYS, ASKED, NEVER, Fences, Format
from tests.flow.test_exchange import ANSWER, ASK, DONE, chunk, continued
from tests.kit import Dialogue
from tests.kit import settings as settings_of

PLAIN = {"x-sluice-format": "plain"}


def whole(text: str) -> str:
    fences = Fences()
    return fences.feed(text) + fences.end()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("So:\n```python\nx = 1\n```\nDone.", "So:\nx = 1\nDone."),
        ("```\nx\n```", "x\n"),
        ("```\nx\n``", "x\n``"),
        ("~~~~ any `word`\nx\n~~~\n~~~~~  \ny", "x\n~~~\ny"),
        ("````\n```\nx\n```\n````\n", "```\nx\n```\n"),
        ("```\n~~~\n```\n", "~~~\n"),
        ("   ```\nx\n  ```\r\ny", "x\ny"),
        ("    ```\nx", "    ```\nx"),
        ("``` a `b` ```\n", "``` a `b` ```\n"),
        ("a ```\nb", "a ```\nb"),
        ("```\nx\n``` y\n```\n", "x\n``` y\n"),
        ("``x``", "``x``"),
        ("```" + "x" * 300 + "\n", "```" + "x" * 300 + "\n"),
        ("```sql", ""),
        ("\n\n", "\n\n"),
        ("", ""),
    ],
)
def test_fences_go_and_all_else_stays(text: str, left: str) -> None:
    assert whole(text) == left


PIECES = st.sampled_from(["`", "``", "```", "~~~", "\n", " ", "   ", "x", "py", "\r\n", "`" * 5])


@settings(max_examples=300, deadline=None)
@given(pieces=st.lists(PIECES, max_size=30), cuts=st.lists(st.integers(0, 80), max_size=20))
def test_any_cut_gives_the_same_text(pieces: list[str], cuts: list[int]) -> None:
    text = "".join(pieces)
    fences, out, at = Fences(), "", 0
    for cut in [*sorted(cuts), len(text)]:
        out += fences.feed(text[at:cut])
        at = max(at, cut)
    assert out + fences.end() == whole(text)


def test_a_line_that_is_no_fence_is_not_held() -> None:
    fences = Fences()
    assert fences.feed("Hel") == "Hel"
    assert fences.feed("lo ```") == "lo ```"
    assert fences.feed("\n``") == "\n"
    assert fences.feed("x") == "``x"
    assert fences.feed("`") == "`"


def test_parts_and_choices_are_apart_and_refusals_stay() -> None:
    stage = Format(always=True)
    for part, choice in ((0, 0), (1, 0), (0, 1)):
        stage.on_event(PartStarted(PartKind.TEXT, part, choice))
    stage.on_event(PartStarted(PartKind.REFUSAL, 2))
    assert stage.on_event(TextDelta("``", 0, 0)) == ()
    assert stage.on_event(TextDelta("`\nx", 1, 0)) == (TextDelta("`\nx", 1, 0),)
    assert stage.on_event(TextDelta("`\nx", 0, 0)) == (TextDelta("x", 0, 0),)
    assert stage.on_event(TextDelta("~~", 0, 1)) == ()
    assert stage.on_event(PartEnded(0, 1)) == (TextDelta("~~", 0, 1), PartEnded(0, 1))
    assert stage.on_event(TextDelta("```\n", 2, 0)) == (TextDelta("```\n", 2, 0),)


FENCED = "So:\n```python\nx = 1\n```\nDone."


def dialogue(when: str) -> Dialogue:
    return Dialogue(settings_of(blocks={"format": {"plain": when}, "memory": "off"}))


async def said(talk: Dialogue, ask: bytes, headers: dict[str, str]) -> tuple[str, str | None]:
    """The reply's text, and what was lost."""
    await talk.head(headers=headers)
    sent = await talk.body(ask)
    assert isinstance(sent, Continue)
    assert not (sent.body and b"plain" in sent.body)
    body = ANSWER.replace(b'"hello"', json.dumps(FENCED).encode())
    await talk.reply_head(headers={"content-length": str(len(body))})
    answer = continued(await talk.reply_body(body))
    text = json.loads(answer.body or body)["choices"][0]["message"]["content"]
    return text, dict(answer.set).get("x-sluice-dropped")


MEMBER = ASK[:-1] + b',"sluice":{"format":"plain"}}'


@pytest.mark.parametrize(
    ("when", "ask", "headers", "plain", "lost"),
    [
        (ASKED, ASK, {}, False, None),
        (ASKED, ASK, PLAIN, True, None),
        (ASKED, MEMBER, {}, True, None),
        (ALWAYS, ASK, {}, True, None),
        (NEVER, ASK, PLAIN, False, "x-sluice-format"),
    ],
)
async def test_for_whom(
    when: str, ask: bytes, headers: dict[str, str], plain: bool, lost: str | None
) -> None:
    """S4-40"""
    text = "So:\nx = 1\nDone." if plain else FENCED
    assert await said(dialogue(when), ask, headers) == (text, lost)


async def test_a_stream_without_fences() -> None:
    """S4-40"""
    talk = dialogue(ASKED)
    await talk.head(headers=PLAIN)
    await talk.body(ASK[:-1] + b',"stream":true}')
    await talk.reply_head(content_type="text/event-stream")
    out = b""
    for letter in FENCED:
        out += continued(await talk.reply_body(chunk({"content": letter}), end=False)).body or b""
    out += continued(await talk.reply_body(chunk({}, "stop") + DONE)).body or b""
    events = [json.loads(line[6:]) for line in out.splitlines() if line.startswith(b"data: {")]
    texts = [e["choices"][0]["delta"].get("content") or "" for e in events if e["choices"]]
    assert "".join(texts) == "So:\nx = 1\nDone."
    assert out.endswith(DONE)


async def test_another_word_is_a_400() -> None:
    talk = Dialogue()
    await talk.head(headers={"x-sluice-format": "html"})
    answer = await talk.body(ASK)
    assert isinstance(answer, Reply) and answer.status == 400
    assert b"x-sluice-format must be plain" in answer.body


def test_it_is_there_by_default() -> None:
    made: list[Stage] = [make() for make in Dialogue().machine.snapshot.stages]
    assert any(isinstance(stage, Format) for stage in made)
