"""The port is ours, or the message says whose fault it is and what to change."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from extproc.supervisor import port
from extproc.supervisor.errors import CannotStart


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_taken_port_is_named_with_the_ways_to_change_it(taken: int) -> None:
    with pytest.raises(
        CannotStart, match=rf"port {taken} on 127.0.0.1 is taken.*`server.port`.*`--port`"
    ):
        port.take("127.0.0.1", taken)


def test_taken_on_one_address_is_taken_for_all(taken: int) -> None:
    with pytest.raises(CannotStart, match="is taken"):
        port.take("0.0.0.0", taken)


def test_zero_takes_a_free_one_and_keeps_it_from_others() -> None:
    with port.take("127.0.0.1", 0) as kept:
        number = kept.getsockname()[1]
        assert number > 0
        with pytest.raises(CannotStart, match="is taken"):
            port.take("127.0.0.1", number)


def test_who_shares_the_port_can_listen_beside_the_kept_socket() -> None:
    with port.take("127.0.0.1", 0) as kept:
        with (
            socket.create_server(kept.getsockname(), reuse_port=True) as listener,
            socket.create_connection(kept.getsockname(), timeout=2),
        ):
            listener.settimeout(2)
            listener.accept()[0].close()
        with socket.create_server(kept.getsockname(), reuse_port=True):
            pass


def test_address_of_another_machine() -> None:
    with pytest.raises(CannotStart, match="not an address of this machine"):
        port.take("192.0.2.1", 0)


def test_name_that_does_not_resolve() -> None:
    with pytest.raises(CannotStart, match="cannot resolve"):
        port.take("no-such-host.invalid", 5055)


def test_port_is_free_again_afterwards() -> None:
    with port.take("127.0.0.1", 0) as kept:
        number = kept.getsockname()[1]
    with port.take("127.0.0.1", number) as again:
        assert again.getsockname() == ("127.0.0.1", number)
