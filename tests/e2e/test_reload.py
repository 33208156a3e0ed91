"""Another configuration for a gateway that runs: whole or not at all, and no exchange is lost."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletion

from extproc.mock import MockProvider
from tests.e2e.harness import ADMIN_KEY, ALICE_KEY, KEYS, PROVIDER_KEY, SLUICE, Gateway
from tests.e2e.lengths import length
from tests.e2e.processes import eventually

RELOADS = length(8, 100)
SECOND = 1000.0
Config = dict[str, Any]


class Changing:
    """A gateway with keys, its configuration file, and its admin's client."""

    def __init__(self, gateway: Gateway, admin: httpx.Client) -> None:
        self.gateway = gateway
        self.admin = admin
        self.file = gateway.folder / "sluice.yaml"

    @property
    def config(self) -> Config:
        return json.loads(self.file.read_text())

    def write(self, config: Config | str) -> None:
        """In one step, as a careful editor does."""
        beside = self.file.with_name("next")
        beside.write_text(config if isinstance(config, str) else json.dumps(config))
        beside.rename(self.file)

    def reload(self) -> httpx.Response:
        return self.admin.post("/admin/reload", timeout=30.0)

    def applied(self, config: Config) -> Config:
        """Reloads by the endpoint; the report."""
        self.write(config)
        answer = self.reload()
        assert answer.status_code == 200, answer.text
        return answer.json()

    @property
    def active(self) -> Config:
        return self.admin.get("/admin/config").json()

    def chat(self, model: str, text: str = "hi") -> ChatCompletion:
        return self.gateway.openai().chat.completions.create(
            model=model, messages=[{"role": "user", "content": text}]
        )

    def line(self, model: str) -> Config:
        """The log line of an exchange with that model."""
        raw = self.gateway.openai().chat.completions.with_raw_response.create(
            model=model, messages=[{"role": "user", "content": "hi"}]
        )
        return dict(self.gateway.wait_exchange(raw.headers["x-sluice-call-id"]))

    def said(self, event: str, **fields: str) -> Config:
        wanted = {"event": event, **fields}
        return dict(self.gateway.wait_log(lambda line: wanted.items() <= line.items(), 10.0))

    def clusters(self) -> set[str]:
        """Those of providers that Envoy has now."""
        path = str((self.gateway.data / "run" / "envoy.sock").resolve())
        with httpx.Client(transport=httpx.HTTPTransport(uds=path)) as envoy:
            lines = envoy.get("http://envoy/clusters").text.splitlines()
        return {one for one in (line.split("::")[0] for line in lines) if one.startswith("provid")}


@contextmanager
def changing(folder: Path, mock: MockProvider, **options: Any) -> Iterator[Changing]:
    gateway = Gateway(folder, mock, key=ALICE_KEY, keys=KEYS, **options)
    try:
        gateway.wait_until_ready()
        with gateway.http(ADMIN_KEY) as admin:
            yield Changing(gateway, admin)
    finally:
        gateway.destroy()


@pytest.fixture(scope="module")
def shared(
    shared_mock: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Changing, Config]]:
    with changing(tmp_path_factory.mktemp("reload"), shared_mock) as one:
        yield one, one.config


@pytest.fixture
def house(shared: tuple[Changing, Config], mock: MockProvider) -> Iterator[Changing]:
    """With its first configuration, also afterwards."""
    one, config = shared
    yield one
    del mock
    one.applied(config)


def aliased(config: Config, **aliases: str) -> Config:
    models = {n: [{"provider": "acme", "model": model}] for n, model in aliases.items()}
    return {**config, "models": {**config["models"], **models}}


def without(config: Config, provider: str) -> Config:
    rest = {name: one for name, one in config["providers"].items() if name != provider}
    return {**config, "providers": rest}


def asked(mock: MockProvider) -> str:
    """The model that the provider was asked for last."""
    return json.loads(mock.requests[-1].body)["model"]


def test_an_alias_is_another_model_at_once(house: Changing) -> None:
    """Row B4: an alias is swapped under a running gateway."""
    before = house.active["version"]
    assert house.line("fast")["config"] == before
    assert asked(house.gateway.mock) == "gpt-4o-mini"
    report = house.applied(aliased(house.config, fast="gpt-4o", newer="gpt-4o"))
    assert report["result"] == "applied"
    assert report["previous"] == before != report["version"]
    assert report["added"] == ["models.newer"]
    assert [path for path in report["changed"] if path.startswith("models.fast")]
    line = house.line("fast")
    assert asked(house.gateway.mock) == "gpt-4o"
    assert line["config"] == report["version"] == house.active["version"]
    assert "newer" in {model.id for model in house.gateway.openai().models.list()}
    assert house.gateway.metric("sluice_config_version_info", version=report["version"]) == 1
    assert house.gateway.metric("sluice_config_version_info", version=before) == 0


def test_it_takes_less_than_a_second(house: Changing) -> None:
    """Also with another provider, which Envoy has to know first. The best of five on a busy machine."""
    config, took = house.config, []
    for number in range(5):
        more = {**config["providers"]["acme"], "models": [f"m{number}"]}
        report = house.applied(
            {**config, "providers": {**config["providers"], f"more{number}": more}}
        )
        took.append(report["ms"])
        assert house.chat(f"m{number}").choices[0].finish_reason == "stop"
    assert min(took) < SECOND, took


def test_a_signal_and_another_key(house: Changing) -> None:
    before = house.active["version"]
    config = house.config
    keys = [key for key in config["keys"] if key["name"] != "alice"]
    house.write({**config, "keys": [*keys, {"name": "carol", "key": "carol-key-1122334455"}]})
    house.gateway.signal(signal.SIGHUP)
    applied = house.said("configuration applied", previous=before, why="SIGHUP")
    assert "+keys.carol" in applied["changes"]
    with pytest.raises(openai.AuthenticationError):
        house.chat("fast")
    carol = house.gateway.openai(api_key="carol-key-1122334455")
    assert len(carol.models.list().data) > 0
    assert "carol-key" not in house.gateway.log_text()
    assert "carol-key" not in house.admin.get("/admin/config").text


def test_a_file_that_changes_is_read_without_being_asked(house: Changing) -> None:
    before = house.active["version"]
    house.write(aliased(house.config, watched="gpt-4o"))
    house.said("configuration applied", previous=before, why="a file changed")
    assert house.chat("watched").choices


def test_a_secret_in_a_mounted_folder(house: Changing) -> None:
    """The folder is swapped as Kubernetes swaps it; the file that names it stays as it is."""
    folder = house.gateway.folder / "secrets"
    for name, key in (("one", "first-secret-key"), ("two", "second-secret-key")):
        (folder / name).mkdir(parents=True)
        (folder / name / "key").write_text(key)
    (folder / "..data").symlink_to("one")
    (folder / "key").symlink_to("..data/key")
    config = house.config
    config["providers"]["acme"]["api_key"] = {"file": str(folder / "key")}
    report = house.applied(config)
    house.chat("fast")
    assert house.gateway.mock.requests[-1].headers["authorization"] == "Bearer first-secret-key"
    (folder / "..next").symlink_to("two")
    (folder / "..next").rename(folder / "..data")
    house.said("configuration applied", previous=report["version"], why="a file changed")
    house.chat("fast")
    assert house.gateway.mock.requests[-1].headers["authorization"] == "Bearer second-secret-key"
    shown = house.admin.get("/admin/config").text
    assert "secret-key" not in shown
    assert str(folder / "key") in shown


def check(house: Changing) -> list[str]:
    """What `sluice check` says of the file."""
    names = ("ACME_KEY", "ADMIN_KEY", "ALICE_KEY", "BOB_KEY")
    environment = {"PATH": os.environ["PATH"], **dict.fromkeys(names, "x" * 20)}
    told = subprocess.run(
        [str(SLUICE), "check", str(house.file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=environment,
    )
    assert told.returncode == 2
    return told.stderr.splitlines()


@pytest.mark.parametrize(
    "bad",
    [
        "providers: {acme: [",
        "",
        '{"providers": {"acme": {"dialct": "openai_chat"}}, "models": {"fast": "nobody/gpt"}}',
    ],
    ids=["no YAML", "no provider", "two errors"],
)
def test_a_bad_file_changes_nothing_and_says_why(house: Changing, bad: str) -> None:
    good, before = house.config, house.active
    house.write(bad)
    refused = house.reload()
    house.write(good)
    assert refused.status_code == 422
    body = refused.json()
    assert body["error"]["code"] == "configuration_refused"
    findings = body["reload"]["findings"]
    assert body["reload"]["version"] == before["version"]
    if bad:
        house.write(bad)
        assert findings == check(house)
        house.write(good)
    else:
        assert findings == ["no provider in it can be used, and the built-in mock does not run"]
    after = house.active
    assert after["version"] == before["version"] == house.line("fast")["config"]
    assert after["last_reload"]["result"] in ("refused", "unchanged")
    house.said("configuration refused", kept=before["version"], why="POST /admin/reload")
    assert house.gateway.metric("sluice_config_reloads_total", result="refused") >= 1


def test_what_only_envoy_knows_to_be_wrong(house: Changing) -> None:
    good, before = house.config, house.active["version"]
    ca = house.gateway.folder / "ca.pem"
    ca.write_text("no certificate at all")
    config = house.config
    config["providers"]["quick"] |= {"endpoint": "https://localhost:1/v1", "tls": {"ca": str(ca)}}
    house.write(config)
    refused = house.reload()
    house.write(good)
    assert refused.status_code == 422
    assert "Envoy refuses it" in refused.json()["reload"]["findings"][0]
    assert house.active["version"] == before
    assert house.chat("fast").choices


def test_what_needs_a_restart_is_named_and_the_rest_applies(house: Changing) -> None:
    config = aliased(house.config, extra="gpt-4o")
    parts = house.gateway.pids()
    report = house.applied({**config, "workers": 3, "server": {"host": "127.0.0.1", "port": 1}})
    assert report["restart"] == ["server", "workers"]
    assert report["added"] == ["models.extra"]
    assert house.chat("extra").choices
    assert house.gateway.pids() == parts
    assert house.active["settings"]["workers"] == 2


def test_a_stream_outlives_its_provider(house: Changing) -> None:
    """And the way to the provider goes when the stream is over."""
    stream = house.gateway.openai().chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": "[[mock pace=30 words=60]] hi"}],
        stream=True,
    )
    first = next(stream)
    config = house.config
    other = {**without(config, "acme"), "models": {}}
    report = house.applied(other)
    assert report["removed"] == ["models.fast", "providers.acme"]
    with pytest.raises(openai.NotFoundError):
        house.chat("gpt-4o")
    assert "provider-acme" in house.clusters()
    rest = list(stream)
    assert rest[-1].choices[0].finish_reason == "stop"
    assert {chunk.id for chunk in rest} == {first.id}
    line = house.gateway.wait_log(
        lambda line: line["event"] == "exchange" and line["provider"] == "acme" and line["stream"]
    )
    assert line["config"] == report["previous"]
    eventually(lambda: house.clusters() == {"provider-quick", "provider-absent"})


def test_an_old_key_never_goes_the_new_way(house: Changing, mock: MockProvider) -> None:
    """The endpoint and the key change together, under load, there and back."""
    config = house.config
    with MockProvider.running() as second, load(house, "fast", 4) as failed:
        for _ in range(3):
            moved = json.loads(json.dumps(config))
            moved["providers"]["acme"] |= {"endpoint": second.base_url, "api_key": "key-of-second"}
            house.applied(moved)
            house.applied(config)
        seen = {
            "first": {one.headers["authorization"] for one in mock.requests},
            "second": {one.headers["authorization"] for one in second.requests},
        }
    assert not failed
    assert seen == {"first": {f"Bearer {PROVIDER_KEY}"}, "second": {"Bearer key-of-second"}}


@contextmanager
def load(house: Changing, model: str, clients: int, text: str = "hi") -> Iterator[list[str]]:
    """Exchanges one after another on each client, whole and streamed; gives what failed."""
    over, failed = threading.Event(), []

    def play(number: int) -> None:
        client = house.gateway.openai(timeout=30.0)
        for turn in itertools.count(number):
            if over.is_set():
                return
            try:
                answer = client.chat.completions.create(
                    model=model,
                    messages=[{"role": "user", "content": text}],
                    stream=bool(turn % 2),
                )
                if isinstance(answer, openai.Stream):
                    last = list(answer)[-1]
                    assert last.choices[0].finish_reason == "stop"
            except Exception as error:
                failed.append(repr(error))

    threads = [threading.Thread(target=play, args=(n,), daemon=True) for n in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield failed
    finally:
        over.set()
        for thread in threads:
            thread.join(30)


@pytest.mark.soak
def test_reloads_under_load_lose_nothing(house: Changing) -> None:
    """Row L8. Aliases, providers, and bounds that Envoy has in its listener change in turn, and some
    files are bad; streams run. What each call was sent to is what the version says that it names."""
    config = house.config
    meant = {house.active["version"]: "gpt-4o-mini"}
    began = len(house.gateway.log_lines())
    with (
        load(house, "fast", 2) as failed,
        load(house, "gpt-4o", 2, "[[mock pace=20 words=30]] hi") as cut,
    ):
        for number in range(RELOADS):
            real = ("gpt-4o", "gpt-4o-mini")[number % 2]
            changed = aliased(config, fast=real, **{f"only-{number}": real})
            if number % 2:
                more = {**config["providers"]["acme"], "models": ["m"]}
                changed["providers"] = {**config["providers"], f"p{number}": more}
            if number % 4 == 3:
                changed["limits"] = {"idle_timeout": f"{100 + number}s"}
            version = house.applied(changed)["version"]
            meant[version] = real
            if number % 5 == 2:
                house.write({**changed, "models": {"fast": "nobody/gpt-4o"}})
                assert house.reload().status_code == 422
                assert house.active["version"] == version
    assert failed == []
    assert cut == []
    assert len(meant) == RELOADS + 1
    lines = [one for one in house.gateway.log_lines()[began:] if one["event"] == "exchange"]
    assert {line["outcome"] for line in lines} == {"ok"}
    assert {line["config"] for line in lines} <= meant.keys()
    fast = [line for line in lines if line["asked"] == "fast"]
    assert len({line["config"] for line in fast}) > RELOADS / 2
    for line in fast:
        assert line["model"] == meant[line["config"]], line
    house.applied(config)
    eventually(lambda: not [name for name in house.clusters() if name.startswith("provider-p")])


def test_many_who_ask_at_once_are_all_answered(house: Changing) -> None:
    house.write(aliased(house.config, together="gpt-4o"))
    answers: list[Config] = []
    threads = [
        threading.Thread(target=lambda: answers.append(house.reload().json()), daemon=True)
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 8
    assert {one["version"] for one in answers} == {house.active["version"]}
    assert "applied" in {one["result"] for one in answers}


def test_parts_that_die_come_back_with_the_new_configuration(house: Changing) -> None:
    version = house.applied(aliased(house.config, later="gpt-4o"))["version"]
    parts = house.gateway.pids()
    for name in ("worker-1", "worker-2", "admin"):
        os.kill(parts[name], signal.SIGKILL)
    eventually(lambda: house.gateway.pids().keys() == parts.keys(), 15.0)
    eventually(house.gateway.is_ready, 15.0)
    assert house.line("later")["config"] == version == house.active["version"]


def test_a_reload_in_the_middle_of_a_roll(house: Changing) -> None:
    before = set(house.gateway.pids().values())
    with load(house, "fast", 2) as failed:
        house.gateway.signal(signal.SIGUSR2)
        eventually(lambda: "worker-3" in house.gateway.pids(), 15.0)
        version = house.applied(aliased(house.config, rolled="gpt-4o"))["version"]
        house.said("rolled")
    assert failed == []
    assert house.line("rolled")["config"] == version
    assert len(set(house.gateway.pids().values()) - before) == 2


def test_a_worker_that_hangs_keeps_the_old_configuration(
    make_gateway: Callable[..., Gateway], mock: MockProvider
) -> None:
    """Nothing is half applied: the other worker stays with the old one, too."""
    gateway = make_gateway(key=ALICE_KEY, keys=KEYS)
    with gateway.http(ADMIN_KEY) as admin:
        house = Changing(gateway, admin)
        before = house.active["version"]
        victim = gateway.pids()["worker-1"]
        os.kill(victim, signal.SIGSTOP)
        house.write(aliased(house.config, never="gpt-4o"))
        answer = house.reload()
        os.kill(victim, signal.SIGCONT)
        assert answer.status_code == 503
        assert answer.json()["reload"]["findings"] == ["worker-1 does not answer"]
        assert house.active["version"] == before == house.line("fast")["config"]
        assert house.reload().json()["result"] == "applied"
        assert house.chat("never").choices
