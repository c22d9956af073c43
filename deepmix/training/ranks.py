"""The processes that train one model together under torchrun; without torchrun, one process that does everything.

A rank is one of these processes. Every rank goes through the same steps, and each method below that communicates must
be called by all of them in the same order. With one rank these methods return their argument, so that there is one path
through the code. What is sent is numbers and JSON, never pickled objects.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from deepmix.data import BlockShare, Readers
from deepmix.maths import Array
from deepmix.training.row_draws import CutDraws

TIMEOUT = timedelta(days=7)
"""How long a rank waits for another, such as for the first one's initial clustering. torchrun sees at once if a process
has ended, so this is only a bound."""


JOIN_TIMEOUT = timedelta(minutes=15)
"""How long a process waits for the others of its job to start."""


BYTES_PER_NUMBER = 4
"""Bytes of a gradient's number, float32."""


@dataclass(frozen=True)
class Share:
    """The rows of a batch that one rank takes: `first` to `last`, the last one not included, of `n_rows`.

    A rank takes at least one row. If the batch has fewer rows than there are ranks, that row does not count.
    """

    first: int
    last: int
    n_rows: int
    counts: bool

    @property
    def rows(self) -> slice:
        """The rows, as an index."""
        return slice(self.first, self.last)

    @property
    def fraction(self) -> float:
        """The fraction of the batch, by which this rank's mean is weighted."""
        return (self.last - self.first) / self.n_rows if self.counts else 0.0

    def draws(self, generator: torch.Generator) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which the generator's draws for these rows are cut from those for the whole batch."""
        if self.last - self.first == self.n_rows:
            return contextlib.nullcontext()
        return CutDraws(generator, self.first, self.last, self.n_rows)


@dataclass(frozen=True)
class Ranks:
    """The place of the current process among those that train one model together."""

    number: int = 0
    """The number of this rank, from 0; the first one writes, prints and does what is not divided."""
    size: int = 1
    """How many ranks there are."""
    local: int = 0
    """The number of this rank among those of its machine, which is the number of its GPU."""

    @property
    def is_first(self) -> bool:
        """Whether this is the first rank."""
        return self.number == 0

    def share(self, n_rows: int) -> Share:
        """Return the rows of a batch that this rank takes; the ranks' shares differ by one row at most."""
        first, last = (number * n_rows // self.size for number in (self.number, self.number + 1))
        if first == last:
            first = min(first, n_rows - 1)
            return Share(first, first + 1, n_rows, counts=False)
        return Share(first, last, n_rows, counts=True)

    def rows_of(self, n_rows: int) -> slice:
        """Return the rows of a batch that this rank takes, as an index."""
        return self.share(n_rows).rows

    def blocks_of(self, n_rows: int, size: int) -> slice:
        """Return the rows of this rank's blocks of `size` rows, one after the other; some ranks may have none."""
        blocks = BlockShare(self.number, self.size).consecutive(-(-n_rows // size))
        first, end = (min(block * size, n_rows) for block in (blocks.start, blocks.stop))
        return slice(first, end)

    def joined(self, own: Tensor, n_rows: int, size: int) -> Tensor:
        """Return what the ranks computed of their blocks of rows, (N, ...), on the first rank; others get their own.

        Args:
            own: the numbers of this rank's rows, (n, ...), on the CPU.
            n_rows: N.
            size: rows of a block, as for `blocks_of`.

        """
        if self.size == 1:
            return own
        if not self.is_first:
            if len(own):
                distributed.send(own.contiguous(), 0)
            return own
        whole = own.new_empty((n_rows, *own.shape[1:]))
        for number in range(self.size):
            part = whole[Ranks(number, self.size).blocks_of(n_rows, size)]
            if number == 0:
                part.copy_(own)
            elif len(part):
                distributed.recv(part, number)
        return whole

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model as a module whose gradients are means over the ranks; all get the first one's weights.

        Parameters that a stage does not train, such as the prior in pretraining, have no gradient on any rank, which
        DistributedDataParallel only allows if it may look for them in every update.
        """
        if self.size == 1:
            return model
        kind: Any = nn.parallel.DistributedDataParallel
        signature = inspect.signature(kind).parameters
        buffers = "forward_sync_buffers" if "forward_sync_buffers" in signature else "broadcast_buffers"  # torch < 2.13
        wrapped: nn.Module = kind(model, find_unused_parameters=True, **{buffers: False})
        return wrapped

    def backward(self, objective: Tensor, share: Share) -> None:
        """Compute the gradient of the mean over the whole batch, from the mean over this rank's rows, (), to maximise.

        An objective that is not finite on one rank makes the gradients not finite on all, so that all leave the step
        out.
        """
        if self.size == 1:
            (-objective).backward()
            return
        bad = torch.where(objective.detach().isfinite(), 1.0, torch.nan)
        (-objective * (self.size * share.fraction) * bad).backward()

    def sums(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return sums over this rank's rows, added over the ranks, with the same bits on each of them."""
        if self.size == 1:
            return dict(sums)
        flat = torch.cat([value.reshape(-1).double() for value in sums.values()])
        distributed.all_reduce(flat)
        parts = flat.split([value.numel() for value in sums.values()])
        return {name: part.view(sums[name].shape) for name, part in zip(sums, parts, strict=True)}

    def sum(self, values: Tensor) -> Tensor:
        """Return the tensor added over the ranks."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def each(self, array: Array) -> list[Array]:
        """Return the arrays of all ranks, which have the same shape and type, in the order of the ranks."""
        if self.size == 1:
            return [array]
        own = torch.from_numpy(np.ascontiguousarray(array))
        all_of_them = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(all_of_them, own)
        return [one.numpy() for one in all_of_them]

    @property
    def readers(self) -> Readers:
        """The ranks as processes that read one file together."""
        return Readers(BlockShare(self.number, self.size), self.each, self.local == 0)

    def tensors(self, make: Callable[[], tuple[Mapping[str, Tensor], Any]]) -> tuple[Mapping[str, Tensor], Any]:
        """Return the tensors, and the value that can be JSON, that `make` returns on the first rank, on every rank.

        The tensors lie on the CPU, unless there is one rank.
        """
        if self.size == 1:
            return make()
        content = torch.empty(0, dtype=torch.uint8)
        if self.is_first:
            tensors, value = make()
            on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            data = safetensors.torch.save(on_cpu, {"value": json.dumps(value)})
            content = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        length = torch.tensor(len(content))
        distributed.broadcast(length, 0)
        content = content if self.is_first else torch.empty(int(length), dtype=torch.uint8)
        distributed.broadcast(content, 0)
        if self.is_first:
            return on_cpu, value
        data = content.numpy().tobytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return safetensors.torch.load(data), json.loads(header["__metadata__"]["value"])

    def tensor(self, make: Callable[[], Tensor]) -> Tensor:
        """Return the tensor that `make` returns on the first rank, on every rank."""
        return self.tensors(lambda: ({"tensor": make()}, None))[0]["tensor"]

    def value(self, make: Callable[[], Any]) -> Any:
        """Return the value that `make` returns on the first rank, on every rank; it must be what JSON can hold."""
        return self.tensors(lambda: ({}, make()))[1]

    def copy_state(self, model: nn.Module) -> None:
        """Give the model the first rank's weights and buffers."""
        if self.size > 1:
            model.load_state_dict(self.tensors(lambda: (model.state_dict(), None))[0])

    def traffic(self, n_parameters: int) -> str:
        """Return a sentence about the numbers that are exchanged in an update, (bytes a rank sends)."""
        gradients = n_parameters * BYTES_PER_NUMBER
        bytes_sent = 2 * (self.size - 1) / self.size * gradients
        return (
            f"{self.size} processes: each update all-reduces {gradients:,} bytes of gradients ({n_parameters:,} "
            f"parameters of {BYTES_PER_NUMBER} bytes), of which a process sends {bytes_sent:,.0f}"
        )


ALONE = Ranks()
"""The one rank of a process that torchrun did not start."""


def is_under_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextlib.contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the processes that torchrun started, if it did, and leave them in the end.

    Numbers on a GPU go through NCCL, all others through gloo.
    """
    size = int(os.environ.get("WORLD_SIZE", "1")) if is_under_torchrun() else 1
    if size == 1:
        yield ALONE
        return
    store, number, size = next(rendezvous("env://", timeout=JOIN_TIMEOUT))
    attempt = f"{os.environ['TORCHELASTIC_RESTART_COUNT']} of {size}"
    store = PrefixStore(attempt, store)  # torch 2.13 would read the addresses of killed processes after a restart
    _stores.append(store)
    with_gpus = torch.cuda.is_available() and distributed.is_nccl_available()
    backend = "cpu:gloo,cuda:nccl" if with_gpus else "gloo"
    distributed.init_process_group(backend, store=store, rank=number, world_size=size, timeout=TIMEOUT)
    yield Ranks(number, size, int(os.environ["LOCAL_RANK"]))
    distributed.destroy_process_group()  # not after a failure, when others may not answer


_stores: list[Store] = []
"""The store of the job that this process has joined, if it has; it outlives a failure, which is reported last."""


def reports_failure() -> bool:
    """Whether this process is the one of its job that reports a failure to the user: the first that asks.

    Before the processes have joined, they all fail alike, and the first rank reports it.
    """
    if not is_under_torchrun():
        return True
    if not _stores:
        return os.environ.get("RANK", "0") == "0"
    try:
        return bool(_stores[0].add("reported failures", 1) == 1)
    except (RuntimeError, OSError):  # torchrun has ended and with it the store
        return False


def is_lost_process(error: BaseException) -> bool:
    """Whether an error says that another process of the job has ended or can't be reached."""
    return isinstance(error, distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def job_name() -> str | None:
    """Return what a torchrun job is called, the same after a restart; None if torchrun did not start this process.

    It is the job's --rdzv-id. Without one torchrun has no name of its own, and its host and process stand for it.
    """
    if not is_under_torchrun():
        return None
    name = os.environ["TORCHELASTIC_RUN_ID"]
    return f"{socket.gethostname()} {os.getppid()}" if name == "none" else name
