"""Where the configuration comes from: the file, the environment, the command line; asked again and again.

Gives settings as `sluice up` uses them, and says about them what a person should
know. Nothing here starts anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from extproc import discover
from extproc.config.load import load
from extproc.config.schema import Provider, Settings
from extproc.flow.snapshot import Registry
from extproc.supervisor.cores import cores
from extproc.telemetry.log import Log

DEFAULT_FILE = Path("sluice.yaml")
MOCK = "mock"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line said; None where it said nothing."""

    config: Path | None = None
    port: int | None = None
    workers: int | None = None


class Source:
    def __init__(self, wanted: Wanted, env: Mapping[str, str], registry: Registry) -> None:
        self._wanted = wanted
        self._env = env
        self._registry = registry

    @property
    def file(self) -> Path | None:
        """The file to read now; None where there is none."""
        if self._wanted.config is not None:
            return self._wanted.config
        return DEFAULT_FILE if DEFAULT_FILE.is_file() else None

    @property
    def place(self) -> Path:
        """Where a file is, or would be looked for."""
        return self._wanted.config or DEFAULT_FILE

    def read(self) -> Settings:
        """What it says now. Raises ConfigErrors."""
        dialects = discover.provider_dialects(self._registry)
        settings = load(self.file, self._env, dialects=dialects, stages=self._registry.blocks)
        if self._wanted.port is not None:
            settings = replace(settings, server=replace(settings.server, port=self._wanted.port))
        return replace(settings, workers=self._wanted.workers or settings.workers or cores())


def usable(settings: Settings) -> bool:
    """Whether there is a provider to ask."""
    return any(one.unavailable is None for one in settings.providers.values())


def with_mock(settings: Settings, port: int) -> Settings:
    """With the built-in provider, which listens on that port of this machine."""
    name = MOCK if MOCK not in settings.providers else "built-in-mock"
    mock = Provider(
        name=name,
        dialect="openai_chat",
        endpoint=f"http://127.0.0.1:{port}/v1",
        model="mock",
        models=("*",),
    )
    return replace(settings, providers={**settings.providers, name: mock})


def say(settings: Settings, log: Log) -> None:
    """What a person should know of settings that are used."""
    for warning in settings.warnings:
        key, _, reason = warning.partition(": ")
        if " " in key:
            log.warning("configuration", reason=warning)
        else:
            log.warning("configuration", at=key, reason=reason)
    for name, provider in settings.providers.items():
        if provider.unavailable is not None:
            # The log takes `api_key: WORD` for a secret; here the word is a variable's name.
            reason = provider.unavailable.replace(": ", " ")
            log.warning("provider unavailable", provider=name, reason=reason)
    for block in settings.inactive:
        log.warning("no effect yet", block=block)
    if not settings.keys:
        log.warning(
            "no keys: serving loopback peers only",
            how="`sluice keys create --name NAME` makes one for `keys:` in the config file",
        )


def say_mock(log: Log) -> None:
    log.warning(
        "no provider can be used: the built-in mock answers, and it only pretends",
        how="set a provider's key (such as OPENAI_API_KEY) or name one in the config file",
    )
