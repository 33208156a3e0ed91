"""Errors of Bedrock, both ways; and AWS's own client against a little server that says what we say."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from extproc.dialects.bedrock_converse import DIALECT
from extproc.model.dialect import RateLimit, ReplyHead, WireReply
from extproc.model.errors import (
    BudgetSpent,
    ContentBlocked,
    ContextTooLong,
    GatewayError,
    Internal,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Origin,
    Overloaded,
    PermissionDenied,
    RateLimited,
    Timeout,
    TooLarge,
    Unauthenticated,
    Unsupported,
    UpstreamBad,
)
from extproc.model.reply import Event
from tests.dialects import kit_bedrock as kit
from tests.dialects.reading import failure

# --- what a provider says


def error_of(status: int, body: Any, **headers: str) -> GatewayError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return failure(kit.decode(raw, {**kit.JSON, **named}, status))


TYPES: list[tuple[int, str, type[GatewayError], int]] = [
    (400, "ValidationException", InvalidRequest, 400),
    (404, "ResourceNotFoundException", NotFound, 404),
    (429, "ThrottlingException", RateLimited, 429),
    (429, "ModelNotReadyException", Overloaded, 503),
    (400, "ServiceQuotaExceededException", BudgetSpent, 402),
    (408, "ModelTimeoutException", Timeout, 504),
    (424, "ModelErrorException", UpstreamBad, 502),
    (424, "ModelStreamErrorException", UpstreamBad, 502),
    (500, "InternalServerException", UpstreamBad, 500),
    (503, "ServiceUnavailableException", Overloaded, 503),
]


@pytest.mark.parametrize(("status", "word", "kind", "ours"), TYPES)
def test_types_are_found_wherever_they_stand(
    status: int, word: str, kind: type[GatewayError], ours: int
) -> None:
    """trap 54: case-blind, cut at `:` and after `#`"""
    message = {"message": "as it is"}
    found = [
        error_of(status, message, x_amzn_errortype=f"{word}:http://internal.amazon.com/coral/"),
        error_of(status, message, x_amzn_errortype=f"com.amazon.coral.service#{word}"),
        error_of(status, message, x_amzn_errortype=word[0].lower() + word[1:]),
        error_of(status, {"Message": "as it is", "__type": word.upper()}),
        error_of(status, {"message": "as it is", "code": word}),
        error_of(status, {"message": "as it is", "Code": word}),
    ]
    for error in found:
        assert type(error) is kind
        assert (error.message, error.status, error.origin) == ("as it is", ours, Origin.PROVIDER)


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (403, "AccessDeniedException"),
        (403, ""),
        (401, ""),
        (400, "UnrecognizedClientException"),
        (400, "ExpiredTokenException"),
        (403, "InvalidSignatureException"),
    ],
)
def test_our_own_credential_is_nobodys_business(status: int, word: str) -> None:
    error = error_of(status, {"message": "The token AKIDSECRET is invalid"}, x_amzn_errortype=word)
    assert type(error) is UpstreamBad and error.status == 502
    assert "AKID" not in error.message


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Input is too long for requested model.", ContextTooLong),
        ("The model returned the following errors: prompt is too long: 9 > 8", ContextTooLong),
        ("Too many input tokens. Max input tokens: 8192", ContextTooLong),
        ("Output blocked by content filtering policy", ContentBlocked),
        ("max_tokens: 9999 > 4096, which is the maximum", InvalidRequest),
    ],
)
def test_messages_tell_the_kind_of_a_validation(message: str, kind: type[GatewayError]) -> None:
    assert type(error_of(400, {"message": message}, x_amzn_errortype="ValidationException")) is kind
    assert type(error_of(400, {"message": message})) is kind


@pytest.mark.parametrize("body", [b"<html>no</html>", b"", b"[]", b"null", b'{"message":7}'])
@pytest.mark.parametrize("status", [400, 502, 503])
def test_what_no_person_can_read_keeps_its_status(status: int, body: bytes) -> None:
    """trap 14"""
    error = error_of(status, body)
    assert (error.status, error.origin) == (status, Origin.PROVIDER)
    assert "html" not in error.message


def test_waiting() -> None:
    assert error_of(429, {"message": "slow"}, retry_after="7").retry_after == 7
    assert DIALECT.read_limits(ReplyHead(200, {})) == ()
    assert DIALECT.write_limits((RateLimit("requests", 1),)) == {}


# --- what the client says to its program


class Server:
    """Answers every request with `reply`."""

    def __init__(self) -> None:
        self.reply = WireReply(200, {}, b"")
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(server.reply.status)
                for name, value in server.reply.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(server.reply.body)))
                self.end_headers()
                self.wfile.write(server.reply.body)

            def log_message(self, format: str, *args: Any) -> None:
                del format, args

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def stop(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    return botocore.session.get_session().create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=server.url,
        aws_access_key_id="k",
        aws_secret_access_key="s",
        config=Config(retries={"max_attempts": 0}),
    )


ASK: dict[str, Any] = {
    "modelId": "m:0",
    "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidRequest("x"), 400, "ValidationException"),
        (Unsupported("x"), 400, "ValidationException"),
        (ContextTooLong("x"), 400, "ValidationException"),
        (ContentBlocked("x"), 400, "ValidationException"),
        (Unauthenticated("x"), 403, "AccessDeniedException"),
        (PermissionDenied("x"), 403, "AccessDeniedException"),
        (BudgetSpent("x"), 400, "ServiceQuotaExceededException"),
        (NotFound("x"), 404, "ResourceNotFoundException"),
        (TooLarge("x"), 413, "ValidationException"),
        (RateLimited("x", retry_after=1.2), 429, "ThrottlingException"),
        (Internal("x"), 500, "InternalServerException"),
        (UpstreamBad("x", origin=Origin.PROVIDER), 424, "ModelErrorException"),
        (Overloaded("x"), 503, "ServiceUnavailableException"),
        (Timeout("x"), 408, "ModelTimeoutException"),
    ],
)
def test_the_sdk_raises_its_own_exceptions(
    server: Server, client: Any, error: GatewayError, status: int, code: str
) -> None:
    server.reply = DIALECT.render_error(error, "gw-7")
    with pytest.raises(ClientError) as raised:
        client.converse(**ASK)
    assert isinstance(raised.value, getattr(client.exceptions, code))
    response: Any = raised.value.response
    assert response["Error"] == {"Code": code, "Message": "x"}
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert response["ResponseMetadata"]["RequestId"] == "gw-7"


def test_headers_of_an_error() -> None:
    reply = DIALECT.render_error(RateLimited("x", retry_after=1.2), "gw-7")
    assert reply.headers["retry-after"] == "2"
    assert reply.headers["x-sluice-error-origin"] == "gateway"
    assert DIALECT.render_error(InvalidRequest("x", status=431), "gw-7").status == 431
    reply = DIALECT.render_error(MethodNotAllowed("x", allow=("POST",)), "gw-7")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")


def said(name: str, stream: bool) -> WireReply:
    events: list[Event] = kit.decode(kit.stream(name))
    chat = kit.parse({}, f"/model/m/converse{'-stream' if stream else ''}")
    encoder = DIALECT.encoder(chat, kit.CONTEXT)
    body = b"".join(encoder.feed(event) for event in events)
    status, headers = encoder.head()
    return WireReply(status, headers, body)


@pytest.mark.parametrize("name", [n for n in kit.streams() if not n.startswith("error")])
def test_the_client_reads_our_replies(server: Server, client: Any, name: str) -> None:
    server.reply = said(name, stream=False)
    whole = client.converse(**ASK)
    content = whole["output"]["message"]["content"]
    server.reply = said(name, stream=True)
    events = list(client.converse_stream(**ASK)["stream"])
    deltas = [e["contentBlockDelta"]["delta"] for e in events if "contentBlockDelta" in e]
    spoken = "".join(delta.get("text", "") for delta in deltas)
    cited = [c for b in content for c in b.get("citationsContent", {}).get("content", [])]
    assert spoken == "".join(block.get("text", "") for block in [*content, *cited])
    stops = [event["messageStop"]["stopReason"] for event in events if "messageStop" in event]
    assert stops == [whole["stopReason"]]
