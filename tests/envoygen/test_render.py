"""What cannot be rendered is said in words, and what is left out is left out."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from extproc.config.layout import Layout
from extproc.config.schema import ModelRoute, Provider, Server, Settings, TargetRef, Window
from extproc.envoygen.binary import envoy_binary, trusted_roots
from extproc.envoygen.local_replies import ClientPath, LocalReply, local_reply_config
from extproc.envoygen.nodes import RenderError, seconds
from extproc.envoygen.render import dump, render
from tests.envoygen.cases import ROOTS, minimal, rendered, several

LAYOUT = Layout(Path("/data"), Path("/run"))


def with_provider(**fields: str) -> Settings:
    given = {"name": "p", "dialect": "openai_chat", "endpoint": "https://a.test", **fields}
    return Settings(providers={"p": msgspec.convert(given, Provider)})


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (with_provider(endpoint="ftp://a.test"), "providers.p.endpoint: expected http(s)://"),
        (with_provider(endpoint="https://a.test:x"), "providers.p.endpoint: Port could not"),
        (with_provider(proxy="corp"), "providers.p.proxy: expected host:port"),
        (Settings(server=Server(port=0)), "server.port: 0 must be replaced"),
        (Settings(server=Server(host="a.test")), "server.host: expected an IP address"),
    ],
)
def test_errors_name_the_key(settings: Settings, told: str) -> None:
    with pytest.raises(RenderError, match=re.escape(told)):
        rendered(settings, LAYOUT)


def test_https_is_never_unverified() -> None:
    with pytest.raises(RenderError, match="no file of trusted certificate authorities"):
        render(with_provider(), LAYOUT, [], None, [])
    files = rendered(with_provider(), LAYOUT, ROOTS)
    assert f'"filename": "{ROOTS}"' in dump(files.cds)
    assert '"exact": "a.test"' in dump(files.cds)


def test_relative_paths_are_refused() -> None:
    with pytest.raises(RenderError, match=re.escape("'.sluice'")):
        rendered(minimal(), Layout(Path(".sluice"), Path("/run")))


def test_an_unavailable_provider_has_no_cluster() -> None:
    clusters = dump(rendered(several(), LAYOUT).cds)
    assert "provider-openai" in clusters
    assert "provider-gone" not in clusters


def test_each_region_has_a_cluster_and_a_tunnel_of_its_own() -> None:
    regions = [
        {"name": "eu", "endpoint": "http://eu.test"},
        {"name": "us", "endpoint": "https://us.test", "proxy": "192.0.2.1:3128"},
        {"name": "gone", "endpoint": "https://gone.test", "unavailable": "GONE is not set"},
    ]
    given = {
        "name": "p",
        "dialect": "openai_chat",
        "endpoint": "",
        "regions": regions,
        "revision": 2,
    }
    files = rendered(Settings(providers={"p": msgspec.convert(given, Provider)}), LAYOUT, ROOTS)
    made = re.findall(r'"name": "(provider-[^"]+)"', dump(files.cds))
    assert made == ["provider-p@eu@2", "provider-p@us@2", "provider-p@us@2-proxy"]
    assert '"eu.test"' in dump(files.cds)
    assert "us.test:443" in dump(files.lds)


def test_only_eds_changes_with_the_workers() -> None:
    one = render(minimal(), LAYOUT, [Path("/run/a")], None, [])
    two = render(minimal(), LAYOUT, [Path("/run/b"), Path("/run/c")], Path("/run/d"), [])
    assert one.eds != two.eds
    assert one.eds_admin != two.eds_admin
    assert (one.bootstrap, one.cds, one.ecds, one.rds, one.lds) == (
        two.bootstrap,
        two.cds,
        two.ecds,
        two.rds,
        two.lds,
    )


def test_who_leaves_is_draining() -> None:
    told = render(minimal(), LAYOUT, [Path("/run/a")], None, [], leaving=[Path("/run/b")])
    assert dump(told.eds).count('"health_status": "DRAINING"') == 1
    assert dump(told.eds).index("/run/a") < dump(told.eds).index("/run/b")
    with pytest.raises(RenderError, match="'b'"):
        render(minimal(), LAYOUT, [], None, [], leaving=[Path("b")])


@pytest.mark.parametrize(
    ("windows", "timeout"), [((), "10s"), ((None,), "10s"), ((0.5, None, 2.5), "12.5s")]
)
def test_the_longest_window_may_be_waited_for(
    windows: tuple[float | None, ...], timeout: str
) -> None:
    to = ((TargetRef(provider="mock", model="m"),),)
    held = [Window(seconds=one) if one else None for one in windows]
    models = {f"m{at}": ModelRoute(groups=to, window=one) for at, one in enumerate(held)}
    settings = msgspec.structs.replace(minimal(), models=models)
    hop = dump(rendered(settings, LAYOUT).lds)
    assert re.findall(r'"message_timeout": "(.+)"', hop) == [timeout]
    assert '"message_timeout": "10s"' in dump(rendered(settings, LAYOUT).ecds)


def test_particular_replies_come_first() -> None:
    given = [
        LocalReply("any", (), None, "t", "4"),
        LocalReply("any", (), 431, "t", "3"),
        LocalReply("a", (ClientPath("/a"),), None, "t", "2"),
        LocalReply("a", (ClientPath("/a"),), 413, "t", "1"),
        LocalReply("a", (ClientPath("/a"),), 413, "t", "0", flags=("UC",)),
        LocalReply("b", (ClientPath("/b"),), 413, "t", "1b"),
    ]
    bodies = re.findall(r'"inline_string": "(\w+)"', dump(local_reply_config(given)))
    assert bodies == ["0", "1", "1b", "2", "3", "4"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0s"), (30, "30s"), (0.25, "0.25s"), (1e-3, "0.001s"), (3600.0, "3600s")],
)
def test_seconds(value: float, text: str) -> None:
    assert seconds(value) == text


def test_trusted_roots(tmp_path: Path) -> None:
    here = tmp_path / "roots.pem"
    assert trusted_roots([here]) is None
    here.touch()
    assert trusted_roots([tmp_path, here]) == here


def test_envoy_is_installed() -> None:
    assert envoy_binary().is_file()
