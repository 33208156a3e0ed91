"""Which language a text is in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.detect.language import language

TEXTS = [
    ("en", "What is the capital of France, and how can I get to it?"),
    ("de", "Wie ist das Wetter in Hamburg, und was ziehe ich an?"),
    ("fr", "Quelle est la capitale de la France, et que faire dans une ville comme elle ?"),
    ("es", "¿Cuál es la capital de España y cómo se llega a los museos del centro?"),
    ("it", "Qual è la capitale della Francia e come sono i musei che ha il centro?"),
    ("pt", "Qual é a capital do Brasil e como não perder os museus da cidade?"),
    ("nl", "Wat is het weer in de stad en hoe kom ik er met een fiets op tijd?"),
    ("zh", "请告诉我法国的首都是哪里。"),
    ("ja", "フランスの首都はどこですか。"),
    ("ko", "프랑스의 수도는 어디입니까?"),
    ("ru", "Какой город столица Франции?"),
    ("uk", "Яке місто є столицею Франції?"),
    ("ar", "ما هي عاصمة فرنسا؟"),
    ("el", "Ποια είναι η πρωτεύουσα της Γαλλίας;"),
    ("en", "What does the word 首都 mean, and how is it used?"),
    ("", "ok"),
    ("", ""),
    ("", "12345 {} ();"),
]


@pytest.mark.parametrize(("expected", "text"), TEXTS)
def test_a_sentence_is_told(expected: str, text: str) -> None:
    assert language(text) == expected


@given(st.text(st.characters()))
def test_it_never_raises(text: str) -> None:
    assert len(language(text)) in (0, 2)
