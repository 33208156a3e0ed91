"""The settings whose rendering is pinned in `golden/`, and the replies that go with them."""

from __future__ import annotations

from pathlib import Path

from extproc.config.layout import Layout
from extproc.config.schema import (
    Key,
    Limits,
    Log,
    Provider,
    ProviderTls,
    Secret,
    Server,
    ServerTls,
    Settings,
)
from extproc.envoygen.local_replies import ClientPath, LocalReply
from extproc.envoygen.render import EnvoyFiles, render

CERTS = Path(__file__).parent / "certs"
ROOTS = CERTS / "ca.crt"
SECRET = "sk-never-in-a-file"

CHAT_PATHS = (
    ClientPath("/v1/chat/completions"),
    ClientPath("/v1/models*", "GET", "x-asks-so"),
)
REPLIES = (
    LocalReply("any", (), None, "application/json", '{"error":"failed","id":"@CALL_ID@"}\n'),
    LocalReply(
        "openai_chat",
        CHAT_PATHS,
        None,
        "application/json",
        '{"error":{"message":"The gateway failed."},"id":"@CALL_ID@"}\n',
    ),
    LocalReply("any", (), 431, "application/json", '{"error":"headers","id":"@CALL_ID@"}\n'),
    LocalReply(
        "openai_chat",
        CHAT_PATHS,
        413,
        "application/json",
        '{"error":{"message":"100% of the limit is used."},"id":"@CALL_ID@"}\n',
        (("x-request-id", "@CALL_ID@"),),
    ),
    LocalReply(
        "openai_chat",
        CHAT_PATHS,
        502,
        "application/json",
        '{"error":{"message":"The provider broke."},"id":"@CALL_ID@"}\n',
        flags=("UC", "UPE"),
        origin="network",
    ),
    LocalReply("simple_query", (ClientPath("/query"),), None, "text/plain", "failed: @CALL_ID@\n"),
)


def minimal(_certs: Path = CERTS) -> Settings:
    """One provider on this machine, in the clear."""
    return Settings(
        workers=2,
        providers={"mock": _provider("mock", "http://127.0.0.1:9001/v1")},
        log=Log(access=True),
    )


def secured(certs: Path = CERTS) -> Settings:
    """TLS to clients; one provider behind a proxy with its own authority and our certificate."""
    server, key = certs / "server.crt", certs / "server.key"
    return Settings(
        workers=2,
        server=Server(host="::", port=8443, tls=ServerTls(cert=server, key=key)),
        providers={
            "acme": Provider(
                name="acme",
                dialect="openai_chat",
                endpoint="https://acme.test/v1",
                tls=ProviderTls(ca=certs / "ca.crt", cert=server, key=key),
                proxy="proxy.test:3128",
            ),
            "plain": Provider(
                name="plain",
                dialect="openai_chat",
                endpoint="http://plain.test:8080/v1",
                proxy="192.0.2.1:3128",
            ),
        },
        log=Log(access=False),
    )


def several(certs: Path = CERTS) -> Settings:
    """Names, addresses of both families, an SNI of its own, one that cannot be used; other limits."""
    return Settings(
        workers=2,
        providers={
            "openai": _provider("openai", "https://api.openai.test/v1"),
            "gone": Provider(
                name="gone",
                dialect="openai_chat",
                endpoint="https://gone.test",
                unavailable="GONE_KEY is not set",
            ),
            "v4": _provider("v4", "https://192.0.2.7:8443"),
            "v6": _provider("v6", "https://[2001:db8::7]/v1"),
            "named": Provider(
                name="named",
                dialect="openai_chat",
                endpoint="https://10.0.0.5/v1",
                tls=ProviderTls(ca=certs / "ca.crt", sni="acme.test"),
                timeout=2.5,
            ),
        },
        keys=(Key(name="alice", key=Secret(SECRET)),),
        limits=Limits(
            body=1_000_000,
            header_bytes=10_000,
            header_count=50,
            connections=100,
            idle_timeout=20.0,
            request_timeout=5.0,
            stage_timeout=1.5,
        ),
    )


def _provider(name: str, endpoint: str) -> Provider:
    return Provider(name=name, dialect="openai_chat", endpoint=endpoint, api_key=Secret(SECRET))


CASES = {"minimal": minimal, "secured": secured, "several": several}


def rendered(settings: Settings, layout: Layout, roots: Path = ROOTS) -> EnvoyFiles:
    """With two workers and an admin process."""
    workers = [layout.worker_socket(1, 1), layout.worker_socket(2, 1)]
    return render(settings, layout, workers, layout.admin_socket(1), REPLIES, roots=roots)
