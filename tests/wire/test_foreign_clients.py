"""The native transport, spoken to by HTTP/2 of other people's making.

grpc's own clients are in `test_native_server.py`, Envoy is in `tests/e2e`. nghttp2's
`h2load` is part of no package that pip installs: where it is missing, the test says so.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extproc.wire.native_server import PROCESS
from tests.wire.h2peer import REQUEST
from tests.wire.h2peer import grpc as message
from tests.wire.serve import Process

H2LOAD = shutil.which("h2load")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process.start(tmp_path_factory.mktemp("foreign") / "w.sock")
    try:
        yield process
        said = process.stop()
        assert said["began"] == said["settled"]
        assert said["problems"] == []
    finally:
        process.kill()


# --- nghttp2


@pytest.mark.skipif(
    H2LOAD is None, reason="no h2load here; it plays where Debian's nghttp2-client is installed"
)
@pytest.mark.parametrize(("clients", "at_once"), [(1, 1), (4, 50), (20, 500)])
def test_h2load(server: Process, tmp_path: Path, clients: int, at_once: int) -> None:
    said = tmp_path / "said"
    said.write_bytes(message(b"one") + message(b"big 3000") + message(b"over"))
    count = 4000
    headers = [":method: POST", "content-type: application/grpc", "te: trailers"]
    done = subprocess.run(
        [
            *(str(H2LOAD), "-n", str(count), "-c", str(clients), "-m", str(at_once)),
            *("-B", f"unix:{server.socket}", "-d", str(said)),
            *(word for header in headers for word in ("-H", header)),
            f"http://extproc{PROCESS}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout, done.stdout
    assert f"status codes: {count} 2xx" in done.stdout
    size = len(message(b"echo:one") + message(bytes(3000)) + message(b"echo:over"))
    assert re.search(rf"\({count * size}\) data", done.stdout), done.stdout


# --- the h2 library


@dataclass
class Stream:
    data: bytes = b""
    fields: dict[str, str] = field(default_factory=dict[str, str])
    ended: bool = False


class Client:
    """h2 on a blocking socket: Huffman-coded headers, a table until it is told otherwise."""

    def __init__(self, path: Path, window: int = 65_535) -> None:
        self._line = socket.socket(socket.AF_UNIX)
        self._line.settimeout(10)
        self._line.connect(str(path))
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.streams: dict[int, Stream] = {}
        self.pongs = 0

    def open(self, **more: str) -> int:
        stream = self._h2.get_next_available_stream_id()
        headers = [*REQUEST, *((name.replace("_", "-"), value) for name, value in more.items())]
        self._h2.send_headers(stream, headers)
        self.streams[stream] = Stream()
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """All of it, as its windows allow."""
        while data:
            room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
            if room > 0:
                self._h2.send_data(stream, data[:room])
                data = data[room:]
            else:
                self.listen()
        if end:
            self._h2.end_stream(stream)

    def ping(self) -> None:
        self._h2.ping(b"12345678")

    def reset(self, stream: int) -> None:
        self._h2.reset_stream(stream)

    def flush(self) -> None:
        self._line.sendall(self._h2.data_to_send())

    def listen(self) -> None:
        """Says what there is to say, and hears what comes."""
        self.flush()
        octets = self._line.recv(1 << 16)
        assert octets, "the server has closed the connection"
        for event in self._h2.receive_data(octets):
            match event:
                case h2.events.DataReceived(stream_id=stream, data=data):
                    assert stream is not None and data is not None
                    self.streams[stream].data += data
                    size = event.flow_controlled_length or 0
                    self._h2.acknowledge_received_data(size, stream)
                case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                    assert event.stream_id is not None
                    fields = [(str(name), str(value)) for name, value in event.headers or []]
                    self.streams[event.stream_id].fields.update(fields)
                case h2.events.StreamEnded(stream_id=stream):
                    assert stream is not None
                    self.streams[stream].ended = True
                case h2.events.PingAckReceived():
                    self.pongs += 1
                case h2.events.ConnectionTerminated():
                    raise AssertionError(event)
                case _:
                    pass

    def finish(self, stream: int) -> Stream:
        while not self.streams[stream].ended:
            self.listen()
        return self.streams[stream]

    def close(self) -> None:
        self._line.close()


@pytest.fixture
def client(server: Process) -> Iterator[Client]:
    made = Client(server.socket)
    yield made
    made.close()


def test_a_burst_before_it_knows_that_there_is_no_table(client: Client) -> None:
    """Its blocks use the table until our SETTINGS have come, and none afterwards."""
    burst = [client.open(x_sluice_note=f"note {i % 3}", x_more="m" * 200) for i in range(40)]
    for stream in burst:
        client.send(stream, message(b"over"), end=True)
    for stream in burst:
        assert client.finish(stream).data == message(b"echo:over")
    for _ in range(3):
        later = client.open(x_sluice_note="note 1", x_more="m" * 200)
        client.send(later, message(b"over"), end=True)
        assert client.finish(later).fields["grpc-status"] == "0"


@pytest.mark.parametrize("window", [1000, 65_535, 1 << 24])
def test_large_messages_there_and_back(server: Process, window: int) -> None:
    client = Client(server.socket, window)
    big = bytes(range(256)) * (window if window < 65_535 else 20_000)
    stream = client.open()
    client.send(stream, message(big))
    client.send(stream, message(b"over"), end=True)
    done = client.finish(stream)
    assert done.data == message(b"echo:" + big) + message(b"echo:over")
    assert done.fields["grpc-status"] == "0"
    client.close()


def test_many_streams_pings_and_resets_between(client: Client) -> None:
    streams = [client.open() for _ in range(100)]
    for turn in range(5):
        for stream in streams:
            client.send(stream, message(b"%d/%d" % (turn, stream)))
        client.ping()
    for stream in streams[::3]:
        client.reset(stream)
    kept = [stream for stream in streams if stream not in streams[::3]]
    for stream in kept:
        client.send(stream, message(b"over"), end=True)
    for stream in kept:
        said = [b"%d/%d" % (turn, stream) for turn in range(5)]
        wanted = b"".join(message(b"echo:" + one) for one in (*said, b"over"))
        assert client.finish(stream).data == wanted
    while client.pongs < 5:
        client.listen()


def test_a_stream_that_is_not_over_ends_unavailable(client: Client) -> None:
    stream = client.open()
    client.send(stream, message(b"one"), end=True)
    fields = client.finish(stream).fields
    assert (fields["grpc-status"], fields["grpc-message"]) == ("14", "the exchange was not over")


# --- grpc


def test_the_health_stub(server: Process) -> None:
    with grpc.insecure_channel(f"unix:{server.socket}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="envoy.service.ext_proc.v3")
        for asked in (request, health_pb2.HealthCheckRequest()):
            # It is made at run time, so no type says that it is there.
            answer = stub.Check(asked, timeout=10)  # pyright: ignore[reportAttributeAccessIssue]
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
