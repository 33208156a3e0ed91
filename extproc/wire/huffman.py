"""The Huffman code of HPACK (RFC 7541, section 5.2 and appendix B): bytes in, text out.

The code is canonical, so the length of each symbol's code says all of it. The
decoder walks a byte at a time; what a byte means in a state is worked out when
it is first met. Only decodes: this project sends no Huffman-coded text.
"""

from __future__ import annotations

from functools import lru_cache

_TEXT = """
13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28 28 28 28 28 28 28 30 28 28 28 28 28 28 28
28 28 6 10 10 12 13 6 8 11 10 10 8 11 8 6 6 6 5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10 13 6 7 7
7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 8 7 8 13 19 13 14 6 15 5 6 5 6 5 6 6 6 5 7 7 6 6 6
5 6 7 6 5 5 6 7 7 7 7 7 15 11 14 13 28 20 22 20 20 22 22 22 23 22 23 23 23 23 23 24 23 24
24 22 23 24 23 23 23 23 21 22 23 22 23 23 24 22 21 20 22 22 23 23 21 23 22 22 24 21 22 23
23 21 21 22 21 23 22 23 23 20 22 22 22 23 22 22 23 26 26 20 19 22 23 22 25 26 26 26 27 27
26 24 25 19 21 26 27 27 26 27 24 21 21 26 26 28 27 27 27 20 24 20 21 22 21 21 23 22 22 25
25 24 24 26 23 26 27 26 26 27 27 27 27 27 28 27 27 27 27 27 26 30
"""
_LENGTHS = tuple(int(bits) for bits in _TEXT.split())
"""bits of the code of each octet, and of EOS (256)"""

_EOS = 256
_SHORT = 64
_CACHED = 512
"""strings up to so many bytes, and so many of them, are kept decoded: every stream repeats its
names and its constant values"""


class BadHuffman(Exception):
    """EOS inside a string, or padding that is not the beginning of EOS (section 5.2)."""


def _tree() -> tuple[list[list[int]], frozenset[int]]:
    """Nodes as pairs of what follows 0 and 1: a node's number, or a symbol as `~symbol`.

    And the nodes where a string may end: the root, and up to 7 ones below it.
    """
    nodes = [[0, 0]]
    code, bits = 0, 0
    for symbol in sorted(range(len(_LENGTHS)), key=lambda s: (_LENGTHS[s], s)):
        code <<= _LENGTHS[symbol] - bits
        bits = _LENGTHS[symbol]
        node = 0
        for at in range(bits - 1, 0, -1):
            side = code >> at & 1
            if not nodes[node][side]:
                nodes.append([0, 0])
                nodes[node][side] = len(nodes) - 1
            node = nodes[node][side]
        nodes[node][code & 1] = ~symbol
        code += 1
    ends = [0]
    for _ in range(7):
        ends.append(nodes[ends[-1]][1])
    return nodes, frozenset(ends)


_NODES, _ENDS = _tree()
_steps: dict[int, tuple[int, str]] = {}
"""state * 256 + byte -> the next state * 256, and what came out. At most 65,536 entries."""


def _step(key: int) -> tuple[int, str]:
    node, byte = key >> 8, key & 0xFF
    text = ""
    for at in range(7, -1, -1):
        node = _NODES[node][byte >> at & 1]
        if node < 0:
            if ~node == _EOS:
                raise BadHuffman("EOS inside a string")
            text += chr(~node)
            node = 0
    _steps[key] = node << 8, text
    return _steps[key]


def decode(raw: bytes) -> str:
    """The text, octets as Latin-1. Raises BadHuffman."""
    return _remembered(raw) if len(raw) <= _SHORT else _decoded(raw)


def _decoded(raw: bytes) -> str:
    state, text = 0, ""
    steps = _steps
    for byte in raw:
        state, more = steps.get(state | byte) or _step(state | byte)
        text += more
    if state >> 8 not in _ENDS:
        raise BadHuffman("padding is not the beginning of EOS")
    return text


_remembered = lru_cache(maxsize=_CACHED)(_decoded)
