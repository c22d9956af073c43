"""A rank's share of a batch, its draws, and the answers of a process that is alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from deepmix.contracts import Batch, Phase
from deepmix.errors import UsageError
from deepmix.experiment import ExperimentConfig, build_model, prepare_experiment
from deepmix.training import Ranks
from deepmix.training.ranks import ALONE, job_name
from tests.unit.training.test_trainer import small_experiment

DRAWS: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "randn": lambda n, g: torch.randn((1, n, 3, 2), generator=g)[0],
    "rand, numbers": lambda n, g: torch.rand(n, 4, generator=g),
    "rand, size": lambda n, g: torch.rand(size=(n,), generator=g),
    "randint": lambda n, g: torch.randint(9, torch.Size([n]), generator=g),
    "multinomial": lambda n, g: torch.multinomial(torch.ones(n, 5), 1, generator=g)[:, 0],
    "exponential_": lambda n, g: torch.empty(n, 2).exponential_(generator=g),
    "bernoulli": lambda n, g: torch.bernoulli(torch.full((n, 2), 0.5), generator=g),
}


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_the_draws_of_all_ranks_are_those_of_one(draw, size):
    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(7)

    alone = seeded()
    whole = [draw(11, alone), draw(11, alone)]  # the second shows that the generators stay in step
    parts = []
    for number in range(size):
        share, generator = Ranks(number, size).share(11), seeded()
        with share.draws(generator):
            parts.append([draw(share.last - share.first, generator) for _ in whole])
    for index, expected in enumerate(whole):
        assert torch.equal(torch.cat([part[index] for part in parts]), expected)


def test_draws_without_rows_and_of_other_generators_are_left_alone():
    share = Ranks(1, 2).share(10)
    ours, other = (torch.Generator().manual_seed(1) for _ in range(2))
    with share.draws(ours):
        drawn, others = torch.randn(3, generator=ours), torch.randn(5, generator=other)
    assert torch.equal(drawn, torch.randn(3, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(others, torch.randn(5, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(("n_rows", "size"), [(10, 1), (10, 3), (2, 3), (1, 4)])
def test_shares_divide_a_batch_and_none_is_empty(n_rows, size):
    shares = [Ranks(number, size).share(n_rows) for number in range(size)]
    counted = [row for share in shares if share.counts for row in range(n_rows)[share.rows]]
    assert counted == list(range(n_rows))
    assert sum(share.fraction for share in shares) == pytest.approx(1.0)
    assert all(0 <= share.first < share.last <= n_rows for share in shares)


@pytest.mark.parametrize(("n_rows", "size"), [(25, 1), (25, 2), (25, 4), (6, 3)])
def test_ranks_take_whole_blocks_of_rows_and_all_of_them(n_rows, size):
    shares = [Ranks(number, size).blocks_of(n_rows, 8) for number in range(size)]
    assert [row for share in shares for row in range(share.start, share.stop)] == list(range(n_rows))
    assert all(share.start % 8 == 0 or share.start == n_rows for share in shares)


def test_the_shares_of_a_batch_have_its_bounds_and_its_gradient():
    of = small_experiment()
    model = build_model(of.parts, of.split, 3, seed=0)
    x_ND, label_N = torch.from_numpy(of.split.x[:25]), torch.arange(25) % 3
    phase = Phase("train", beta=1.0, anchor=1.0)

    def step(size: int) -> tuple[Tensor, list[Tensor]]:
        model.zero_grad()
        objectives = []
        for share in (Ranks(number, size).share(25) for number in range(size)):
            generator, rows = torch.Generator().manual_seed(3), share.rows
            with share.draws(generator):
                loss = model(Batch(x_ND[rows], generator=generator, phase=phase, label_N=label_N[rows]))
            (-loss.objective_N.mean() * share.fraction).backward()
            objectives.append(loss.objective_N.detach())
        return torch.cat(objectives), [parameter.grad.clone() for parameter in model.parameters()]

    (bound_N, gradients), (shared_N, sums) = step(1), step(3)
    torch.testing.assert_close(shared_N, bound_N, rtol=1e-5, atol=1e-5)
    for gradient, added in zip(gradients, sums, strict=True):
        torch.testing.assert_close(added, gradient, rtol=1e-4, atol=1e-5)


def test_one_rank_returns_what_it_is_given():
    values = {"elbo": torch.tensor(2.0)}
    assert ALONE.sums(values) == values
    assert ALONE.value(lambda: 3) == 3
    assert ALONE.share(5).fraction == 1.0
    model = torch.nn.Linear(2, 1)
    assert ALONE.wrap(model) is model


def test_the_bytes_of_an_update():
    assert Ranks(0, 4).traffic(1000) == (
        "4 processes: each update all-reduces 4,000 bytes of gradients (1,000 parameters of 4 bytes), of which a "
        "process sends 6,000"
    )


def test_more_processes_than_rows_per_update_are_refused():
    with pytest.raises(UsageError, match=r"3 processes can't share updates of 2 rows; use batch_size=3 or more"):
        prepare_experiment(ExperimentConfig(settings={"batch_size": "2"}), ranks=Ranks(0, 3))


def test_a_job_keeps_its_name(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert job_name() is None
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "slurm-7")
    assert job_name() == "slurm-7"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert job_name() == job_name() != "none"
