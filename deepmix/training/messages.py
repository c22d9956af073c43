"""What processes that divide the rows of a file send to the first one: arrays and JSON, never pickled objects."""

from __future__ import annotations

import heapq
import json
import operator
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import numpy as np
import torch
from safetensors.numpy import load, save
from torch import distributed

from deepmix.maths import Array
from deepmix.training.ranks import Ranks

VALUE = "value"
"""The name of the array that holds the JSON of a message; those of its arrays begin with `ARRAY`."""

ARRAY = "array/"

END = -1
"""The length that says that a process has no further message."""

HEAD_BYTES = 16
"""Bytes before a message in a file: its number and its length, int64 each."""


def pack(arrays: Mapping[str, Array], value: Any) -> bytes:
    """Return arrays of numbers, by name, and a value that JSON can hold as one message."""
    content = {ARRAY + name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps(value, default=operator.methodcaller("item")).encode()  # of NumPy's numbers
    return save({**content, VALUE: np.frombuffer(text, dtype=np.uint8)})


def unpack(message: bytes) -> tuple[dict[str, Array], Any]:
    """Return the arrays and the value of a message."""
    content = load(message)
    value = json.loads(content.pop(VALUE).tobytes())
    return {name.removeprefix(ARRAY): array for name, array in content.items()}, value


def gathered(ranks: Ranks, messages: Iterable[tuple[int, bytes]]) -> Iterator[bytes]:
    """Give the messages of all ranks on the first one, in the order of their numbers; other ranks get none.

    Each rank writes its own messages to a temporary file and sends them when it has made all of them. So the ranks work
    at the same time whichever rows they have, and no rank holds more than a message of each.

    Args:
        ranks: the ranks, all of which must take what this gives.
        messages: this rank's messages, each with its number; the numbers rise, and no two ranks have the same ones.

    """
    if ranks.size == 1:
        yield from (message for _, message in messages)
        return
    with tempfile.TemporaryFile() as file:
        for number, message in messages:
            file.write(np.array([number, len(message)]).tobytes())
            file.write(message)
        file.seek(0)
        if ranks.is_first:
            streams = [_stored(file), *map(_received, range(1, ranks.size))]
            yield from (message for _, message in heapq.merge(*streams, key=operator.itemgetter(0)))
            return
        for number, message in _stored(file):
            distributed.send(torch.tensor([number, len(message)]), 0)
            distributed.send(torch.frombuffer(bytearray(message), dtype=torch.uint8), 0)
        distributed.send(torch.tensor([0, END]), 0)


def _stored(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Give the messages in a file."""
    while head := file.read(HEAD_BYTES):
        number, length = np.frombuffer(head, dtype=np.int64).tolist()
        yield number, file.read(length)


def _received(rank: int) -> Iterator[tuple[int, bytes]]:
    """Give the messages of another rank."""
    while True:
        head = torch.zeros(2, dtype=torch.long)
        distributed.recv(head, rank)
        number, length = head.tolist()
        if length == END:
            return
        content = torch.empty(length, dtype=torch.uint8)
        distributed.recv(content, rank)
        yield number, content.numpy().tobytes()
