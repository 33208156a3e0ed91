"""A stand-in for a `Conversation`: it does what its messages say, so that a transport can be tried."""

from __future__ import annotations

import asyncio
from typing import cast

from google.protobuf.message import DecodeError

from extproc.flow.exchange import OutOfTurn
from extproc.wire.processor import Conversation
from extproc.wire.translate import Unexpected

ERRORS = {b"decode": DecodeError, b"unexpected": Unexpected, b"turn": OutOfTurn}


class Talk:
    """Answers `echo:` and the message, but for the words below. `gate` lets waiting ones go on."""

    def __init__(self, call_id: str, peer: str, gate: asyncio.Event) -> None:
        self.call_id, self.peer = call_id, peer
        self.over = False
        self.heard: list[bytes] = []
        self.closed = 0
        self.cancelled = False
        self.slow_end = False
        self._gate = gate

    def at_once(self, message: bytes) -> bytes | None:
        del message
        return None

    async def answer(self, message: bytes) -> bytes:
        self.heard.append(message[:20])
        word, _, rest = message.partition(b" ")
        match word:
            case b"over":
                self.over = True
            case b"wait":
                await self._wait()
            case b"timeout":
                try:
                    async with asyncio.timeout(float(rest)):
                        await asyncio.sleep(30)
                except TimeoutError:
                    return b"timed out"
            case b"big":
                return bytes(int(rest))
            case b"much":
                return bytes(3000)
            case b"bug":
                raise ValueError("a bug")
            case b"cancelled":
                raise asyncio.CancelledError
            case b"late-bug":
                await self._wait()
                raise ValueError("a late bug")
            case b"slow-end":
                self.slow_end = True
            case b"bad-end":
                self.closed = -1
            case _ if word in ERRORS:
                raise ERRORS[word]("by word")
            case _:
                pass
        return b"echo:" + message

    async def _wait(self) -> None:
        try:
            await self._gate.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def close(self) -> None:
        self.closed += 1
        if self.closed == 0:
            self.closed = 1
            raise ValueError("a bad end")
        if self.slow_end:
            await self._gate.wait()


def conversation(talk: Talk) -> Conversation:
    return cast("Conversation", talk)
