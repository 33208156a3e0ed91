"""The link by which Envoy's log finds the worker of a number."""

from __future__ import annotations

import socket
from pathlib import Path

from extproc.app import link


def test_it_leads_to_the_newest_socket(tmp_path: Path) -> None:
    place = tmp_path / "cuts-1.sock"
    (tmp_path / "cuts-1.new").write_text("of one that died in the midst")
    for generation in (1, 2):
        path = tmp_path / f"w1-{generation}.sock"
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind(str(path))
            server.listen()
            link(place, path)
            client.connect(str(place))
            with server.accept()[0] as accepted:
                client.sendall(b"x")
                assert accepted.recv(1) == b"x"
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        *("cuts-1.sock", "w1-1.sock", "w1-2.sock"),
    ]
