"""What is carried and not translated: no byte changes, one model's name is read, usage is counted."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.dialects import _multipart as multipart
from extproc.dialects._opaque import MAX_JSON, TAIL
from extproc.dialects.openai_chat import DIALECT
from extproc.mock import MockProvider
from extproc.model.call import CallId
from extproc.model.dialect import Rendered, ReplyContext, ReplyDecoder, ReplyHead, RequestHead
from extproc.model.embed import Opaque
from extproc.model.errors import InvalidRequest, Kind, Overloaded, Unsupported
from extproc.model.reply import (
    NO_UNITS,
    Event,
    Failed,
    Finished,
    OpaqueChunk,
    Started,
    Units,
    Usage,
    Used,
)

from . import kit_chat as kit

FORM = "multipart/form-data; boundary=xyz"
ASKED = Rendered("", b"", operation="opaque")
CONTEXT = ReplyContext(CallId("gw-1"), "", 0)


def parse(
    path: str, body: bytes = b"", content_type: str = "", method: str = "POST", query: str = ""
) -> Opaque:
    headers = {"content-type": content_type} if content_type else {}
    request = DIALECT.parse_request(RequestHead(method, path, query, headers, "opaque"), body)
    assert isinstance(request, Opaque)
    return request


def form(*parts: tuple[str, bytes], boundary: str = "xyz") -> bytes:
    """Parts with their `content-disposition`, as clients write them."""
    out = b""
    for disposition, value in parts:
        out += f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n".encode()
        out += value + b"\r\n"
    return out + f"--{boundary}--\r\n".encode()


def decoder(content_type: str, status: int = 200) -> ReplyDecoder:
    return DIALECT.decoder(ReplyHead(status, {"content-type": content_type}), ASKED)


def decoded(body: bytes, content_type: str, step: int = 0, status: int = 200) -> list[Event]:
    """The events; every byte passes, as it came."""
    step = step or max(1, len(body))
    pieces = [body[i : i + step] for i in range(0, len(body), step)]
    reader = decoder(content_type, status)
    events, passed = kit.drain(reader, pieces)
    assert passed == (b"" if isinstance(events[-1], Failed) else body)
    return events


# --- which paths


def operation(method: str, path: str) -> str | None:
    for one in DIALECT.endpoints:
        wild = one.path.endswith("*")
        hit = path.startswith(one.path[:-1]) if wild else path == one.path
        if hit and one.method == method:
            return one.operation
    return None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/images/generations"),
        ("POST", "/images/edits"),
        ("POST", "/v1/audio/speech"),
        ("POST", "/v1/audio/transcriptions"),
        ("POST", "/v1/moderations"),
        ("GET", "/v1/files"),
        ("POST", "/v1/files"),
        ("GET", "/v1/files/file-1/content"),
        ("DELETE", "/v1/files/file-1"),
        ("POST", "/v1/batches/b1/cancel"),
        ("GET", "/v1/fine_tuning/jobs"),
        ("POST", "/v1/uploads/u1/parts"),
        ("DELETE", "/v1/vector_stores/v1/files/f1"),
    ],
)
def test_paths_that_are_carried(method: str, path: str) -> None:
    assert operation(method, path) == "opaque"


def test_uploads_may_pass_unseen() -> None:
    uploads = {(one.method, one.path) for one in DIALECT.endpoints if one.upload}
    assert ("POST", "/v1/files") in uploads
    assert ("POST", "/v1/uploads/*") in uploads
    assert all(method == "POST" for method, _ in uploads)
    unseen = parse("/v1/files", b"", FORM)
    assert (unseen.model, unseen.raw) == ("", b"")


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/realtime/client_secrets"])
def test_realtime_is_refused_with_a_reason(path: str) -> None:
    assert operation("GET", path) == operation("POST", path) == "refused"
    with pytest.raises(Unsupported, match="web socket") as caught:
        DIALECT.parse_request(RequestHead("GET", path, "", {}, "refused"), b"")
    assert caught.value.code == "realtime_not_supported"


def test_the_path_below_the_base_with_its_query() -> None:
    request = parse("/v1/files", method="GET", query="limit=2&after=a%26b")
    assert (request.path, request.method) == ("/files?limit=2&after=a%26b", "GET")
    assert parse("/files/f-1/content", method="GET").path == "/files/f-1/content"
    model = "/fine_tuning/checkpoints/ft:gpt-4o:org::id/permissions"
    assert parse("/v1" + model).path == model


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/../chat/completions",
        "/v1/files/%2e%2e/chat/completions",
        "/v1/files/a%2Fb",
        "/v1/files/a%252Fb",
        "/v1/files/a;b",
        "/v1/files/a%3Fb",
        "/v1/files//a",
        "/v1/files/a\\b",
        "/v1/files/a%0d%0ab",
        "/v1/files/ä",
        "/v1/files/.",
    ],
)
def test_trap_63_paths_that_could_become_others(path: str) -> None:
    with pytest.raises(InvalidRequest, match="path"):
        parse(path, method="GET")


# --- JSON


def test_json_names_its_model_and_its_stream() -> None:
    raw = b'{"model":"tts-1","stream":true,"input":"hi"}'
    request = parse("/v1/audio/speech", raw, "application/json; charset=utf-8")
    assert (request.model, request.stream) == ("tts-1", True)
    out = DIALECT.render_request(request, kit.target("tts-1"))
    assert out.body is raw
    assert out.headers == {"content-type": "application/json; charset=utf-8"}
    assert (out.method, out.path, out.operation) == ("POST", "/audio/speech", "opaque")
    other = DIALECT.render_request(request, kit.target("tts-2"))
    assert other.body == raw.replace(b"tts-1", b"tts-2")


def test_our_own_member_stays_here() -> None:
    raw = b'{"sluice":{"tags":["a"]},"model":"m","x":1}'
    request = parse("/v1/images/generations", raw, "application/json")
    assert request.options.tags == ("a",)
    assert json.loads(request.raw) == {"model": "m", "x": 1}


def test_json_without_a_model() -> None:
    for raw in (b"{}", b"[1]", b'{"model":null}'):
        request = parse("/v1/batches", raw, "application/json")
        assert request.model == ""
        assert DIALECT.render_request(request, kit.target("")).body is raw
    cancel = parse("/v1/batches/b/cancel", b"", "application/json")
    assert DIALECT.render_request(cancel, kit.target("")).body == b""
    assert DIALECT.render_request(parse("/v1/files", method="GET"), kit.target("")).headers == {}


@pytest.mark.parametrize(
    "raw", [b'{"model":"a","model":"b"}', b'{"model":NaN}', b"{", b'{"model":5}']
)
def test_trap_16_json_that_could_be_read_otherwise(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse("/v1/images/generations", raw, "application/json")


# --- multipart


def test_multipart_is_not_touched() -> None:
    sound = bytes(range(256)) * 100
    raw = form(
        ('form-data; name="file"; filename="a; name=\\"model\\".mp3"', sound),
        ('form-data; name="model"', b"whisper-1"),
    )
    request = parse("/v1/audio/transcriptions", raw, FORM)
    assert request.model == "whisper-1"
    out = DIALECT.render_request(request, kit.target("whisper-1"))
    assert out.body is raw
    assert out.headers == {"content-type": FORM}
    with pytest.raises(Unsupported, match="send that name") as caught:
        DIALECT.render_request(request, kit.target("whisper-2"))
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    "disposition",
    [
        'form-data; name="model"',
        "form-data; name=model",
        'FORM-DATA;name="mod\\el"',
        'form-data; name="model"; ',
    ],
)
def test_spellings_of_the_models_part(disposition: str) -> None:
    assert multipart.field(form((disposition, b" m ")), FORM, "model") == "m"


def test_a_quoted_boundary_and_no_model() -> None:
    raw = form(('form-data; name="file"', b"x"), boundary="a b")
    assert multipart.field(raw, 'Multipart/Form-Data; charset=x; boundary="a b"', "model") == ""


MODEL = ('form-data; name="model"', b"m")


@pytest.mark.parametrize(
    ("raw", "content_type", "why"),
    [
        (form(MODEL, MODEL), FORM, "twice"),
        (form(MODEL), "multipart/form-data", "no boundary"),
        (b"preamble\r\n" + form(MODEL), FORM, "start with its boundary"),
        (form(MODEL)[:-6], FORM, "no head|does not end"),
        (form(("form-data; name*=utf-8''model", b"m")), FORM, "name*"),
        (form(('form-data; name="a"; name="model"', b"m")), FORM, "two names"),
        (form(('form-data; name="a" name="model"', b"m")), FORM, "cannot be read"),
        (form(('form-data;\r\n name="model"', b"m")), FORM, "no header"),
        (form(('form-data; name="model"', b"m" * 2000)), FORM, "too long"),
        (form(('form-data; name="model"', b"\xff")), FORM, "UTF-8"),
        (form(("form-data; x=" + "y" * 9000, b"m")), FORM, "too long"),
        (form(*[("form-data; name=a", b"")] * 1001), FORM, "more than 1000 parts"),
        (b"--xyz\r\nno colon\r\n\r\nm\r\n--xyz--", FORM, "no header"),
    ],
)
def test_trap_16_multipart_that_could_be_read_otherwise(
    raw: bytes, content_type: str, why: str
) -> None:
    with pytest.raises(InvalidRequest, match=why) as caught:
        parse("/v1/audio/transcriptions", raw, content_type)
    assert caught.value.code == "invalid_multipart"


@given(
    st.lists(st.sampled_from([b"--xyz", b"\r\n", b"--", b"a", b'name="model"', b"\r\n\r\n", b";"]))
)
@settings(max_examples=100)
def test_no_multipart_raises_anything_else(pieces: list[bytes]) -> None:
    with contextlib.suppress(InvalidRequest):
        multipart.field(b"--xyz" + b"".join(pieces), FORM, "model")


def test_what_the_sdk_sends_is_read() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"text": "x"})

    http: Any = httpx.Client(transport=httpx.MockTransport(answer))
    with openai.OpenAI(api_key="k", base_url="http://127.0.0.1/v1", http_client=http) as client:
        sound = ("a.mp3", b"--" + bytes(1000))
        client.audio.transcriptions.create(model="whisper-1", file=sound, language="de")
        client.images.edit(model="gpt-image-1", image=[b"a", b"b"], prompt="x")
    models = [parse(r.url.path, r.read(), r.headers["content-type"]).model for r in seen]
    assert models == ["whisper-1", "gpt-image-1"]


# --- replies


def test_bytes_of_any_kind_pass_as_they_came() -> None:
    reader = decoder("audio/mpeg")
    piece = bytes(range(256))
    assert reader.feed(piece) == [Started("", "")]
    assert reader.take() is piece
    assert reader.feed(piece) == []
    assert reader.feed(b"") == ()
    assert reader.take() == piece
    assert reader.close() == [Finished()]
    assert reader.close() == ()
    assert decoded(b"", "") == [Started("", ""), Finished()]


IMAGE = {"input_tokens": 50, "output_tokens": 100, "total_tokens": 150}
DETAILS = {"input_tokens_details": {"text_tokens": 10, "image_tokens": 40, "cached_tokens": 8}}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(fresh=3, total=3)),
        (IMAGE, Usage(fresh=50, output=100, total=150)),
    ],
)
@pytest.mark.parametrize("step", [0, 7])
def test_usage_of_a_whole_reply(usage: Any, expected: Usage, step: int) -> None:
    body = json.dumps({"data": [], "usage": usage}).encode()
    events = decoded(body, "application/json; charset=utf-8", step)
    assert events == [Started("", ""), Used(expected), Finished()]


def test_details_of_usage() -> None:
    body = json.dumps({"usage": {**IMAGE, **DETAILS}}).encode()
    usage = kit.usage(decoded(body, "application/json"))
    assert usage is not None
    assert (usage.fresh, usage.cache_read, usage.output) == (42, 8, 100)
    assert usage.extra.fields["prompt_tokens_details"] == {"text_tokens": 10, "image_tokens": 40}
    body = b'{"text":"x","usage":{"type":"duration","seconds":9}}'
    usage = kit.usage(decoded(body, "application/json"))
    assert usage is not None
    assert (usage.prompt, usage.extra.fields["seconds"]) == (0, 9)
    assert usage.units == Units(audio_seconds=9)
    mistrals = b'{"usage":{"prompt_audio_seconds":7,"prompt_tokens":4,"completion_tokens":5}}'
    usage = kit.usage(decoded(mistrals, "application/json"))
    assert usage is not None
    assert (usage.prompt, usage.output, usage.units) == (4, 5, Units(audio_seconds=7))
    heard = {"input_tokens": 14, "input_token_details": {"audio_tokens": 14}, "output_tokens": 45}
    usage = kit.usage(decoded(json.dumps({"usage": heard}).encode(), "application/json"))
    assert usage is not None
    assert (usage.prompt, usage.audio_in, usage.output, usage.units) == (14, 14, 45, NO_UNITS)


@pytest.mark.parametrize("seconds", [-1, 0, True, "9", None, 1e300])
def test_seconds_that_make_no_sense(seconds: Any) -> None:
    body = json.dumps({"usage": {"type": "duration", "seconds": seconds}}).encode()
    usage = kit.usage(decoded(body, "application/json"))
    assert usage is not None and usage.units == NO_UNITS


@pytest.mark.parametrize(
    ("path", "body", "kind", "units"),
    [
        ("/v1/audio/speech", b'{"model":"tts-1","input":"h\xc3\xa4llo"}', "", Units(characters=5)),
        ("/audio/speech?x=1", b'{"model":"tts-1","input":5}', "", NO_UNITS),
        ("/v1/images/generations", b'{"model":"dall-e-3","n":3}', "", Units(images=3)),
        ("/v1/images/generations", b'{"model":"dall-e-3","n":"x"}', "", Units(images=1)),
        ("/v1/images/edits", form(('form-data; name="n"', b"2")), FORM, Units(images=2)),
        ("/v1/images/edits", form(('form-data; name="n"', b"-")), FORM, Units(images=1)),
        ("/v1/moderations", b'{"model":"m","input":"hello","n":3}', "", NO_UNITS),
    ],
)
def test_what_a_request_says_that_it_costs(path: str, body: bytes, kind: str, units: Units) -> None:
    path, _, query = path.partition("?")
    asked = parse(path, body, kind or "application/json", query=query)
    sent = DIALECT.render_request(asked, kit.target(asked.model))
    assert (asked.units, sent.units) == (units, units)
    good = DIALECT.decoder(ReplyHead(200, {"content-type": "audio/mpeg"}), sent)
    events, passed = kit.drain(good, [b"ID3"])
    assert passed == b"ID3"
    used = [event.usage for event in events if isinstance(event, Used)]
    assert used == ([] if units == NO_UNITS else [Usage(units=units)])
    bad = DIALECT.decoder(ReplyHead(500, {"content-type": "application/json"}), sent)
    assert not any(isinstance(event, Used) for event in kit.drain(bad, [b"{}"])[0])


def test_tokens_and_units_together() -> None:
    asked = parse("/v1/images/generations", b'{"model":"gpt-image-1"}', "application/json")
    sent = DIALECT.render_request(asked, kit.target(asked.model))
    good = DIALECT.decoder(ReplyHead(200, {"content-type": "application/json"}), sent)
    events, _ = kit.drain(good, [json.dumps({"usage": IMAGE}).encode()])
    assert kit.usage(events) == Usage(fresh=50, output=100, total=150, units=Units(images=1))


def test_usage_at_the_end_of_a_long_reply() -> None:
    picture = "A" * (MAX_JSON + 5 * TAIL)
    body = json.dumps({"data": [{"b64_json": picture}], "usage": IMAGE}).encode()
    for step in (0, 50_000):
        assert kit.usage(decoded(body, "application/json", step)) == Usage(
            fresh=50, output=100, total=150
        )
    late = json.dumps({"usage": IMAGE, "data": [{"b64_json": picture}]}).encode()
    assert kit.usage(decoded(late, "application/json")) is None


@pytest.mark.parametrize("body", [b"{", b"[1]", b'{"usage":5}', b'{"usage":{}', b"\xff"])
def test_json_that_cannot_be_read_passes_all_the_same(body: bytes) -> None:
    assert decoded(body, "application/json") == [Started("", ""), Finished()]


def test_usage_in_events() -> None:
    partial = {"type": "image_generation.partial_image", "usage": None}
    done = {"type": "image_generation.completed", "usage": IMAGE}
    body = b"".join(
        b"event: x\r\ndata: %b\r\n\r\n" % json.dumps(one).encode() for one in (partial, done)
    )
    for step in (0, 1, 10):
        events = decoded(body, "text/event-stream", step)
        assert events == [
            Started("", ""),
            Used(Usage(fresh=50, output=100, total=150)),
            Finished(),
        ]
    assert kit.usage(decoded(body[:-4], "text/event-stream")) is not None


def test_an_endless_event_passes_in_bounded_memory() -> None:
    reader = decoder("text/event-stream")
    for _ in range(12):
        piece = b"data: " + b"x" * 1_000_000
        reader.feed(piece)
        assert reader.take() == piece
    assert reader.close() == [Finished()]


@pytest.mark.parametrize("status", [400, 404, 500])
def test_errors_are_read(status: int) -> None:
    body = b'{"error":{"message":"no such file","type":"invalid_request_error"}}'
    error = kit.failure(decoded(body, "application/json", status=status))
    assert (error.message, error.status) == ("no such file", status)


def test_a_refused_credential_and_a_redirect() -> None:
    assert kit.failure(decoded(b"{}", "application/json", status=401)).status == 502
    assert kit.failure(decoded(b"", "text/html", status=302)).kind is Kind.UPSTREAM_BAD


def test_trap_10_a_compressed_reply_fails() -> None:
    head = ReplyHead(200, {"content-type": "application/json", "content-encoding": "gzip"})
    events, passed = kit.drain(DIALECT.decoder(head, ASKED), [b"\x1f\x8b"])
    assert kit.failure(events).kind is Kind.UPSTREAM_BAD
    assert passed == b""


def test_what_a_client_is_told() -> None:
    whole = DIALECT.encoder(Opaque("openai_chat", "POST", "/x", ""), CONTEXT)
    assert whole.head() == (200, {})
    assert whole.feed(Started("", "")) == b""
    assert whole.feed(OpaqueChunk(b"\x00\x01")) == b"\x00\x01"
    assert whole.feed(Finished()) == b""
    assert whole.feed(Failed(Overloaded("gone"))) == b""
    stream = DIALECT.encoder(Opaque("openai_chat", "POST", "/x", "", stream=True), CONTEXT)
    said = stream.feed(Failed(Overloaded("gone")))
    assert json.loads(said.removeprefix(b"data: "))["error"]["message"] == "gone"


def test_another_dialects_request_is_refused_clearly() -> None:
    request = Opaque("gemini_generate", "POST", "/files?x=1", "")
    with pytest.raises(Unsupported, match=r"/files of gemini_generate is not translated"):
        DIALECT.render_request(request, kit.target())


def test_the_mock_understands_what_leaves() -> None:
    """The bytes of the real SDK, through parse and render, to a provider's side."""
    with MockProvider.running() as mock, httpx.Client(base_url=mock.base_url) as wire:
        raw = form(
            ('form-data; name="file"; filename="a.mp3"', b"x" * 77),
            ('form-data; name="model"', b"whisper-1"),
        )
        asked = DIALECT.render_request(
            parse("/v1/audio/transcriptions", raw, FORM), kit.target("whisper-1")
        )
        reply = wire.request(
            asked.method, asked.path.lstrip("/"), content=asked.body, headers=dict(asked.headers)
        )
        assert reply.json()["received"] == {"file": 77, "model": 9}
        head = ReplyHead(reply.status_code, dict(reply.headers))
        events, passed = kit.drain(DIALECT.decoder(head, asked), [reply.content])
        assert passed == reply.content
        used = kit.usage(events)
        assert used is not None
        assert (used.prompt, used.output) == (14, 45)
