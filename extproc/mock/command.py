"""`sluice mock`: the mock provider as a process of its own.

Takes parsed arguments, serves until SIGTERM or SIGINT, gives the exit status.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from extproc.mock.replay import BadTranscripts, Transcripts
from extproc.mock.server import MockProvider

DEFAULT_PORT = 9001


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `sluice mock`."""
    parser.description = "Play a model provider. Nothing leaves this machine."
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to bind (default: %(default)s)"
    )
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="0 takes any free one (default: %(default)s)"
    )
    parser.add_argument(
        "--replay", type=Path, metavar="FILE", help="answer from recorded exchanges"
    )
    parser.add_argument(
        "--pace", type=float, default=0.0, metavar="MS", help="milliseconds between streamed events"
    )
    parser.add_argument("--no-record", action="store_true", help="keep no requests")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop; 0, or 1 when it cannot start."""
    try:
        replay = Transcripts.load(args.replay) if args.replay else None
    except (BadTranscripts, OSError) as wrong:
        print(f"sluice mock: {wrong}", file=sys.stderr)
        return 1
    mock = MockProvider(replay=replay, pace=args.pace / 1000, record=not args.no_record)
    return asyncio.run(_serve(mock, args.host, args.port, quiet=args.quiet))


async def _serve(mock: MockProvider, host: str, port: int, *, quiet: bool) -> int:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    try:
        await mock.start(host, port)
    except OSError as wrong:
        print(f"sluice mock: cannot listen on {host}:{port}: {wrong.strerror}", file=sys.stderr)
        return 1
    if not quiet:
        print(f"mock provider on {mock.base_url}", flush=True)
    await told.wait()
    await mock.stop()
    return 0
