"""How several processes share the blocks of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from deepmix.maths import Array


@dataclass(frozen=True)
class BlockShare:
    """The blocks of a file that process `number` of `size` reads; every block belongs to one process.

    A reader that knows how many blocks there are, and can begin anywhere, takes `consecutive` ones. A reader that must
    read on to know takes every `size`-th block, those that it `has`.
    """

    number: int = 0
    size: int = 1

    def consecutive(self, n_blocks: int) -> range:
        """Return the numbers of this process's blocks, one after the other; the first process has most."""
        start, stop = (-(-number * n_blocks // self.size) for number in (self.number, self.number + 1))
        return range(start, stop)

    def has(self, block: int) -> bool:
        """Whether a block is one of every `size` blocks that are this process's."""
        return block % self.size == self.number


WHOLE = BlockShare()
"""All blocks."""


def block_starts(n_rows: int, size: int, share: BlockShare) -> range:
    """Return the numbers of the first rows of a share's blocks of `size` rows, at least 1."""
    numbers = share.consecutive(-(-n_rows // size))
    return range(numbers.start * size, min(numbers.stop * size, n_rows), size)


@dataclass(frozen=True)
class Readers:
    """The processes that read one file together, as one of them sees it; the default is a process that is alone."""

    share: BlockShare = WHOLE
    """The share of this process."""
    each: Callable[[Array], Sequence[Array]] = lambda array: [array]
    """Returns the float64 arrays of all processes, which have the same shape; all must call it."""
    is_first_here: bool = True
    """Whether this process is the first one of its machine."""

    def in_order(self, n_blocks: int, measure: Callable[[int], Array]) -> Iterator[Array]:
        """Give `measure` of every block in order, in every process; each of them measures every `size`-th block.

        Args:
            n_blocks: how many blocks there are.
            measure: returns a float64 array for the number of a block, of one shape for all.

        """
        for first in range(0, n_blocks, self.share.size):
            own = min(first + self.share.number, n_blocks - 1)  # at the end, some measure the last one again
            yield from self.each(measure(own))[: n_blocks - first]


ONE_READER = Readers()
"""A process that is alone."""
