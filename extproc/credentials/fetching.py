"""Credentials that are fetched: how their sources reach the network, and the loops that run them.

Takes a source and the provider whose requests it signs; gives a `Refreshing`.
`kept_fresh` runs all of a worker's. Metadata services are plain http and asked
directly; https goes through the provider's `proxy`. The environment's proxy
variables are never heard.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from functools import partial
from typing import Protocol, TypeVar

import httpx

from extproc.config.schema import Provider
from extproc.credentials.refresh import Refreshing, Secret, Surroundings
from extproc.model.ports import Credential, Signable

PATIENCE = 2.0
"""seconds that a worker waits for its first credentials before it is ready without them"""

_TIMEOUT = 10.0

S = TypeVar("S", bound=Secret)
S_co = TypeVar("S_co", bound=Secret, covariant=True)


class Source(Protocol[S_co]):
    async def fetch(self, http: httpx.AsyncClient) -> S_co:
        """A secret that is good now. Raises `FetchFailed`."""
        ...


def fetched(
    provider: Provider,
    source: Source[S],
    sign: Callable[[S, Signable], Mapping[str, str]],
    around: Surroundings,
) -> Refreshing[S]:
    """The provider's credential, whose secret `source` gives. Nothing is asked before it runs."""
    trusted = ssl.create_default_context()

    async def fetch() -> S:
        # A client for each fetch: they are hours apart, longer than a connection lives.
        async with _client(provider, trusted) as http:
            return await source.fetch(http)

    heard = partial(around.on_failure, provider.name)
    return Refreshing(provider.name, fetch, sign, around, on_failure=heard)


def _client(provider: Provider, trusted: ssl.SSLContext) -> httpx.AsyncClient:
    mounts: dict[str, httpx.AsyncBaseTransport | None] = {}
    if provider.proxy is not None:
        proxy = httpx.AsyncHTTPTransport(verify=trusted, proxy=f"http://{provider.proxy}")
        mounts["https://"] = proxy
    return httpx.AsyncClient(trust_env=False, verify=trusted, timeout=_TIMEOUT, mounts=mounts)


@contextlib.asynccontextmanager
async def kept_fresh(
    credentials: Iterable[Credential], patience: float = PATIENCE
) -> AsyncGenerator[None]:
    """Keeps those that expire fresh for as long as the block runs.

    Enters it when each of them has been asked for once, and after `patience` seconds at the
    latest, whether it came or not: until it comes, a request is refused and told why.
    """
    fresh: list[Refreshing[Secret]] = [one for one in credentials if isinstance(one, Refreshing)]
    loops = [asyncio.create_task(one.run()) for one in fresh]
    firsts = [asyncio.create_task(one.refresh()) for one in fresh]
    try:
        if firsts:
            await asyncio.wait(firsts, timeout=patience)
        yield
    finally:
        for task in (*firsts, *loops):
            task.cancel()
        await asyncio.gather(*firsts, *loops, return_exceptions=True)
