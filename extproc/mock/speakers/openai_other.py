"""What OpenAI's API has beside chat: pictures, speech, files, batches, moderation, in small.

Takes a request, gives an answer in the right shape, or None for a path that is
not among them. Nothing is kept: a file that was sent exists in its own answer
only. What came in a multipart body is told back by name and size (`received`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import cast

import orjson

from extproc.mock.answer import Answer, Asked

_CREATED = 1_767_225_600
_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c6360606000000004000127345f2b0000000049454e44ae426082"
)
"""a picture of one pixel"""
_SOUND = b"ID3\x04" + bytes(range(256)) * 8
_HEAD = re.compile(rb'name="([^"]*)"(?:;\s*filename="([^"]*)")?', re.IGNORECASE)
_FILE = "file-mock0001"
_TOKENS = {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59}


def other(asked: Asked) -> Answer | None:
    """The answer of the path's end, whatever its base is."""
    path = asked.path.partition("?")[0]
    parts = path.strip("/").split("/")
    for at, name in enumerate(parts):
        answer = _ANSWERS.get(name)
        if answer is not None:
            return answer(asked, parts[at + 1 :])
    return None


def _images(asked: Asked, rest: list[str]) -> Answer | None:
    if asked.method != "POST" or rest not in (["generations"], ["edits"], ["variations"]):
        return None
    picture = base64.b64encode(_PIXEL).decode()
    usage = {
        "input_tokens": 50,
        "output_tokens": 100,
        "total_tokens": 150,
        "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
    }
    if rest == ["generations"] and _fields(asked.body).get("stream") is True:
        done = {"type": "image_generation.completed", "b64_json": picture, "usage": usage}
        partial = {
            "type": "image_generation.partial_image",
            "b64_json": picture,
            "partial_image_index": 0,
        }
        return Answer(200, "text/event-stream", events=(_event(partial), _event(done)))
    made: dict[str, object] = {"created": _CREATED, "data": [{"b64_json": picture}], "usage": usage}
    return _json({**made, **_received(asked.body)})


def _audio(asked: Asked, rest: list[str]) -> Answer | None:
    if asked.method != "POST":
        return None
    match rest:
        case ["speech"]:
            return Answer(200, "audio/mpeg", _SOUND)
        case ["transcriptions" | "translations"]:
            received = _received(asked.body)
            if not received:
                return _refuse(400, "The request must be multipart/form-data.")
            return _json({"text": "You said something.", "usage": _TOKENS, **received})
        case _:
            return None


def _files(asked: Asked, rest: list[str]) -> Answer | None:
    match asked.method, rest:
        case "POST", []:
            received = _received(asked.body)
            sizes = cast("Mapping[str, int]", received.get("received", {}))
            if "file" not in sizes:
                return _refuse(400, "'file' is a required property")
            return _json({**_card(_FILE), "bytes": sizes["file"], **received})
        case "GET", []:
            return _json({"object": "list", "data": [_card(_FILE)], "has_more": False})
        case "GET", [name]:
            return _json(_card(name))
        case "GET", [_, "content"]:
            headers = (("content-disposition", 'attachment; filename="data.jsonl"'),)
            body = b'{"custom_id":"one"}\n'
            return Answer(200, "application/octet-stream", body, headers=headers)
        case "DELETE", [name]:
            return _json({"id": name, "object": "file", "deleted": True})
        case _:
            return None


def _card(name: str) -> dict[str, object]:
    return {
        "id": name,
        "object": "file",
        "bytes": 20,
        "created_at": _CREATED,
        "filename": "data.jsonl",
        "purpose": "batch",
        "status": "processed",
    }


def _batches(asked: Asked, rest: list[str]) -> Answer | None:
    batch: dict[str, object] = {
        "id": rest[0] if rest else "batch_mock0001",
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "input_file_id": _FILE,
        "completion_window": "24h",
        "status": "validating",
        "created_at": _CREATED,
    }
    match asked.method, rest:
        case "POST", []:
            return _json({**batch, **_fields(asked.body)})
        case "GET", []:
            return _json({"object": "list", "data": [batch], "has_more": False})
        case ("GET", [_]) | ("POST", [_, "cancel"]):
            return _json(batch)
        case _:
            return None


def _moderations(asked: Asked, rest: list[str]) -> Answer | None:
    if asked.method != "POST" or rest:
        return None
    given = _fields(asked.body).get("input")
    inputs = cast("list[object]", given) if isinstance(given, list) else [given]
    results: list[object] = [
        {
            "flagged": "violence" in str(one),
            "categories": {"violence": "violence" in str(one)},
            "category_scores": {"violence": 0.99 if "violence" in str(one) else 0.01},
        }
        for one in inputs
    ]
    return _json({"id": "modr-mock0001", "model": "omni-moderation-latest", "results": results})


_ANSWERS = {
    "images": _images,
    "audio": _audio,
    "files": _files,
    "batches": _batches,
    "moderations": _moderations,
}


def _received(body: bytes) -> dict[str, object]:
    """Name and size of each part; nothing for a body that is not multipart."""
    boundary = body.partition(b"\r\n")[0]
    if not boundary.startswith(b"--"):
        return {}
    sizes: dict[str, int] = {}
    for part in body.split(boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        found = _HEAD.search(head)
        if found is not None:
            sizes[found[1].decode("utf-8", "replace")] = len(content) - len(b"\r\n")
    return {"received": sizes}


def _fields(body: bytes) -> dict[str, object]:
    try:
        value: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _event(value: Mapping[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (str(value["type"]).encode(), orjson.dumps(value))


def _json(value: object) -> Answer:
    return Answer(200, "application/json", orjson.dumps(value))


def _refuse(status: int, message: str) -> Answer:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return Answer(status, "application/json", orjson.dumps({"error": error}))
