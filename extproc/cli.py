"""The command `sluice`: reads the command line and hands over to the one who does it.

Imports what a command needs only when that command runs: `--version` is
instant, and a worker loads nothing of the supervisor. Exit status: 0 done, 1
cannot, 2 the configuration or the command line is wrong.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

_EPILOG = "`sluice COMMAND --help` says more about a command."


def main(argv: Sequence[str] | None = None) -> int:
    try:
        arguments = _parser().parse_args(argv)
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        return 1
    finally:
        _let_go_of_output()


def _let_go_of_output() -> None:
    """What a full disk or a closed pipe did not take must not fail again while Python ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sluice",
        description="An LLM egress gateway around Envoy.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_up(commands)
    _add_check(commands)
    _add_schema(commands)
    _add_envoy(commands)
    _add_explain(commands)
    _add_keys(commands)
    _add_mock(commands)
    _add_children(commands)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and stop")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print("sluice", version("sluice"))
        except PackageNotFoundError:
            print("sluice (not installed)")
        parser.exit()


Commands = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]
Run = Callable[[argparse.Namespace], int]


def _command(
    commands: Commands[argparse.ArgumentParser], name: str, run: Run, text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def _add_up(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = _command(
        commands, "up", _up, "Start the gateway; Ctrl-C or SIGTERM drains and stops it."
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="default: ./sluice.yaml if it exists, else defaults and the environment",
    )
    parser.add_argument("--port", type=_port, help="instead of `server.port`; 0 takes any free one")
    parser.add_argument("--workers", type=_count, metavar="N", help="instead of `workers`")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected 0 to 65535, found {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a number from 1, found {text!r}")
    return int(text)


def _up(arguments: argparse.Namespace) -> int:
    from extproc.supervisor.up import Wanted, up

    return up(Wanted(arguments.config, arguments.port, arguments.workers), os.environ)


def _add_check(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = _command(
        commands,
        "check",
        _check,
        "Check a config file: exit 0 and a summary, or 2 and every error.",
    )
    parser.add_argument("file", type=Path, metavar="FILE")


def _check(arguments: argparse.Namespace) -> int:
    from extproc.supervisor.commands import check

    return check(arguments.file, os.environ)


def _add_schema(commands: Commands[argparse.ArgumentParser]) -> None:
    _command(commands, "schema", _schema, "Print the JSON Schema of the config file, for editors.")


def _schema(_: argparse.Namespace) -> int:
    from extproc.supervisor.commands import print_schema

    return print_schema()


def _add_envoy(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = _command(
        commands, "envoy", _envoy, "Print the Envoy configuration made from a config file."
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument(
        "--xds",
        action="store_true",
        help="bootstrap and xDS files apart, as `sluice up` writes them",
    )


def _envoy(arguments: argparse.Namespace) -> int:
    from extproc.supervisor.commands import print_envoy

    return print_envoy(arguments.file, os.environ, xds=arguments.xds)


def _add_explain(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = _command(
        commands, "explain", _explain, "Tell which targets a request would go to, and why."
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="a request's body in JSON, `-` for standard input")
    add("--config", type=Path, metavar="FILE", help="as of `sluice up`; not with --url")
    add("--path", help="where it would be sent, default /v1/chat/completions")
    add("--caller", metavar="NAME", help="whose key it would have; with --url only for an admin")
    add("--call-id", metavar="ID", help="of a call that was made: what was drawn for it")
    add(
        "--header",
        dest="headers",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="a header that it would have; may be given again",
    )
    add("--url", metavar="URL", help="ask the gateway at http://HOST:PORT, which knows its health")
    add("--key-file", type=Path, metavar="FILE", help="your key for that gateway")
    add("--json", dest="as_json", action="store_true", help="the whole answer as JSON")


def _explain(arguments: argparse.Namespace) -> int:
    from extproc.supervisor.explain import Asking, explain

    if arguments.url is not None and arguments.config is not None:
        print("sluice explain: --config and --url exclude each other", file=sys.stderr)
        return 2
    return explain(
        Asking(
            file=arguments.file,
            config=arguments.config,
            path=arguments.path,
            caller=arguments.caller,
            call_id=arguments.call_id,
            headers=arguments.headers,
            url=arguments.url,
            key_file=arguments.key_file,
            as_json=arguments.as_json,
        ),
        os.environ,
    )


def _add_keys(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("keys", help="Make keys for callers.", allow_abbrev=False)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = _command(actions, "create", _keys_create, "Make a key: printed once, kept by nobody.")
    create.add_argument("--name", required=True, help="who uses it, as logs and metrics say it")
    create.add_argument("--role", choices=("caller", "admin"), default="caller")
    create.add_argument(
        "--models", default="*", metavar="A,B", help="models it may use, default all"
    )


def _keys_create(arguments: argparse.Namespace) -> int:
    from extproc.supervisor.commands import create_key

    return create_key(arguments.name, arguments.role, arguments.models.split(","))


def _add_mock(commands: Commands[argparse.ArgumentParser]) -> None:
    from extproc.mock.command import add_arguments

    parser = _command(commands, "mock", _mock, "Run a mock provider, for trying and testing.")
    add_arguments(parser)


def _mock(arguments: argparse.Namespace) -> int:
    from extproc.mock.command import run

    return run(arguments)


def _add_children(commands: Commands[argparse.ArgumentParser]) -> None:
    """What the supervisor starts. Without a supervisor they have no settings."""
    worker = commands.add_parser("worker", description="A worker of `sluice up`; not for people.")
    worker.add_argument("number", type=int)
    worker.add_argument("--socket", type=Path, required=True)
    worker.set_defaults(run=_worker)
    admin = commands.add_parser("admin", description="A process of `sluice up`; not for people.")
    admin.add_argument("--socket", type=Path, required=True)
    admin.set_defaults(run=_admin)


def _worker(arguments: argparse.Namespace) -> int:
    from extproc.app import run_worker
    from extproc.child import run_child

    return run_child(lambda parent: run_worker(parent, arguments.number, arguments.socket))


def _admin(arguments: argparse.Namespace) -> int:
    from extproc.child import run_child
    from extproc.supervisor.admin import run_admin

    return run_child(lambda parent: run_admin(parent, arguments.socket))


if __name__ == "__main__":
    sys.exit(main())
