"""What the fuzzer does to the bytes of a good file, and to the values of a good JSON file."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

NUMBERS = (
    0,
    1,
    2,
    7,
    127,
    128,
    255,
    256,
    32767,
    65535,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**53,
    2**63 - 1,
    -1,
    -2,
    -(2**63),
)
"""Numbers at which readers go wrong: limits of types and their neighbours."""


VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2.5, 1e308, -1e308, float("nan"), float("inf"), 2**63, 10**30, "", "x", "1", "nan"),
    *("\u00b2", "\ud800", "\x1b[31m", "../../x", "=1+1", [], {}, [[]], [1, "a"], {"a": 1}, ["x"] * 40),
)
"""JSON values that take the place of others."""


MOST_DAMAGES = 4


def damage(content: bytes, random: Random, tokens: Sequence[bytes] = ()) -> bytes:
    """Return a file's bytes with one to four places changed.

    Args:
        content: the bytes of a good file.
        random: decides what happens, and where.
        tokens: pieces of the file's format, which are inserted or put over other bytes.

    """
    changed = bytearray(content)
    for _ in range(random.randint(1, MOST_DAMAGES)):
        random.choice(DAMAGES)(changed, random, tokens)
    return bytes(changed)


def _place(content: bytearray, random: Random) -> int:
    return random.randrange(len(content) + 1)


def _flip_a_bit(content: bytearray, random: Random, tokens: Sequence[bytes]) -> None:
    if content:
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)


def _set_a_byte(content: bytearray, random: Random, tokens: Sequence[bytes]) -> None:
    if content:
        content[random.randrange(len(content))] = random.choice(
            (0, 10, 34, 39, 44, 127, 128, 255, random.randrange(256))
        )


def _cut_short(content: bytearray, random: Random, tokens: Sequence[bytes]) -> None:
    del content[_place(content, random) :]


def _remove(content: bytearray, random: Random, tokens: Sequence[bytes]) -> None:
    start = _place(content, random)
    del content[start : start + random.choice((1, 2, 4, 8, 16, 64))]


def _repeat(content: bytearray, random: Random, tokens: Sequence[bytes]) -> None:
    start = _place(content, random)
    piece = content[start : start + random.choice((1, 2, 8, 32, 128))]
    content[start:start] = piece * random.choice((1, 2, 5))


def _put_a_number(content: bytearray, random: Random, tokens: Sequence[bytes]) -> None:
    number, form = random.choice(NUMBERS), random.choice(["<i", ">i", "<q", ">q", "<h", ">h"])
    size = struct.calcsize(form)
    start = _place(content, random)
    content[start : start + size] = (number % 2 ** (8 * size)).to_bytes(size, "little" if form[0] == "<" else "big")


def _insert_a_token(content: bytearray, random: Random, tokens: Sequence[bytes]) -> None:
    start, token = _place(content, random), _token(random, tokens)
    content[start : start + random.choice((0, 0, len(token)))] = token


def _replace_a_token(content: bytearray, random: Random, tokens: Sequence[bytes]) -> None:
    """Put a token in the place of another one that is in the file."""
    present = [token for token in tokens if token and token in content]
    if present:
        old = random.choice(present)
        start = content.index(old)
        content[start : start + len(old)] = _token(random, tokens)


def _token(random: Random, tokens: Sequence[bytes]) -> bytes:
    return random.choice(tokens) if tokens else str(random.choice(NUMBERS)).encode()


DAMAGES: tuple[Callable[[bytearray, Random, Sequence[bytes]], None], ...] = (
    *(_flip_a_bit, _set_a_byte, _cut_short, _remove, _repeat, _put_a_number),
    *(_insert_a_token, _insert_a_token, _replace_a_token, _replace_a_token),
)


def damage_values(tree: Any, random: Random) -> Any:
    """Replace, remove, rename or wrap one to four values of a JSON tree; return the tree, or what replaces it."""
    for _ in range(random.randint(1, MOST_DAMAGES)):
        places = list(_places(tree))
        if not places:
            return random.choice(VALUES)
        holder, key = random.choice(places)
        match random.randrange(6):
            case 0:
                del holder[key]
            case 1:
                holder[key] = [holder[key]]
            case 2 if isinstance(holder, dict):
                holder[random.choice((f"{key}x", "", "name", "kind"))] = holder.pop(key)
            case 3:
                holder[key] = copy.deepcopy(random.choice(places)[0])
            case _:
                holder[key] = copy.deepcopy(random.choice(VALUES))
    return tree


def _places(tree: Any) -> Any:
    """Yield (holder, key) of every value in a JSON tree."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(pairs):
        yield tree, key
        yield from _places(value)


def damage_json(content: bytes, random: Random) -> bytes:
    """Return the text of a JSON file with its values changed, its bytes changed, or nested too deep."""
    match random.randrange(8):
        case 0 | 1:
            return damage(
                content, random, (b"{", b"}", b"[", b"]", b'"', b":", b",", b"NaN", b"1e999", b"null", b"\\ud800")
            )
        case 2 if random.randrange(10) == 0:
            return b"[" * 100_000 + b"]" * random.choice((0, 100_000))
        case _:
            text = json.dumps(damage_values(json.loads(content), random))
            return text.encode("utf-8", "surrogatepass")
