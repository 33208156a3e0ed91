"""How likely tokens were: told in every language's own shape, and turned into another's.

A `LOGPROBS` note keeps the shape of the dialect that it came in. Here it becomes a
list of tokens in OpenAI's words (`token`, `logprob`, `bytes`, `top_logprobs`), from
which each encoder writes its own. Cohere tells of stretches of text, not of tokens,
and is not read. Nothing here computes a likelihood.
Source: the API references of OpenAI, Gemini and Ollama.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

from extproc.model.chat import Json
from extproc.model.reply import Note, NoteKind

Token: TypeAlias = dict[str, Json]


def own(note: Note, home: str, write: Callable[[list[Token]], Json]) -> Note:
    """The note in the shape that `write` gives for `home`; any that is of `home` or of another kind, as it is."""
    if note.kind is not NoteKind.LOGPROBS or note.dialect == home:
        return note
    tokens = tokens_of(note)
    return replace(note, value=write(tokens), dialect=home) if tokens else note


def tokens_of(note: Note) -> list[Token]:
    """The tokens of a note of any dialect, none where it tells of none."""
    return [_whole(token) for token in _told(note.value)]


def _told(value: Json) -> Iterator[Token]:
    match value:
        case list() | {"content": list()}:
            # Ollama's, and those of OpenAI's two newer languages
            listed = value if isinstance(value, list) else value["content"]
            for item in listed if isinstance(listed, list) else ():
                if isinstance(item, dict):
                    yield item
        case {"chosenCandidates": list(chosen)}:
            yield from _gemini(chosen, value.get("topCandidates"))
        case {"tokens": list(tokens), "token_logprobs": list(numbers)}:
            yield from _completions(tokens, numbers, value.get("top_logprobs"))
        case _:
            pass


def _gemini(chosen: list[Json], tops: Json) -> Iterator[Token]:
    known = tops if isinstance(tops, list) else []
    for at, item in enumerate(chosen):
        if not isinstance(item, dict):
            continue
        top = known[at] if at < len(known) else None
        others = top.get("candidates") if isinstance(top, dict) else None
        yield {
            **_candidate(item),
            "top_logprobs": [
                _candidate(one)
                for one in (others if isinstance(others, list) else [])
                if isinstance(one, dict)
            ],
        }


def _candidate(item: Token) -> Token:
    return {"token": item.get("token"), "logprob": item.get("logProbability")}


def _completions(tokens: list[Json], numbers: list[Json], tops: Json) -> Iterator[Token]:
    known = tops if isinstance(tops, list) else []
    for at, (token, number) in enumerate(zip(tokens, numbers, strict=False)):
        top = known[at] if at < len(known) else None
        others = top.items() if isinstance(top, dict) else ()
        yield {
            "token": token,
            "logprob": number,
            "top_logprobs": [{"token": name, "logprob": likely} for name, likely in others],
        }


def _whole(token: Token) -> Token:
    """With all four members; a token's bytes are those of its text where nobody says."""
    listed = token.get("top_logprobs")
    top: list[Json] = [
        _plain(one) for one in (listed if isinstance(listed, list) else []) if isinstance(one, dict)
    ]
    return {**_plain(token), "top_logprobs": top}


def _plain(token: Token) -> Token:
    text, data = token.get("token"), token.get("bytes")
    name = text if isinstance(text, str) else ""
    numbers: list[Json] = list(name.encode("utf-8", "surrogatepass"))
    return {
        "token": name,
        "logprob": token.get("logprob"),
        "bytes": data if isinstance(data, list) else numbers,
    }
