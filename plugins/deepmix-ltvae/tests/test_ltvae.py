from __future__ import annotations

import itertools

import pytest
import torch
from deepmix_ltvae import LatentTreePrior
from deepmix_ltvae.prior import LatentTreeOptions
from deepmix_ltvae.structure import mutual_information
from torch.distributions import Categorical, MixtureSameFamily, Normal

from deepmix.contracts import PriorPlacement
from deepmix.errors import UsageError
from deepmix.maths import Dims, Gaussian, cluster_moments, component_kl, gaussian_log_prob
from deepmix.testing import PriorKit

K, M, F, J = 3, 5, 4, 2
FACETS, PARENTS, SIZES = [0, 1, 1, 2, 3], [0, 0, 1, 0], [K, J, 3, J]
"""The facet of each dimension, and the parent and number of states of each facet."""


class TestLatentTreePrior(PriorKit):
    part = LatentTreePrior
    test_command_line = None  # tests/plugins/test_runs.py trains the model


def tree(n_heads: int) -> LatentTreePrior:
    """Return a tree of four facets with random parameters, in float64."""
    torch.manual_seed(0)
    prior = LatentTreePrior(Dims(6, 6, K, n_heads, M), LatentTreeOptions(facets=F)).double()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.normal_()
        prior.facet_FM.copy_(torch.eye(F)[FACETS].T)
        prior.parent_FF[1:] = torch.eye(F, dtype=torch.float64)[PARENTS[1:]]
        prior.size_F.copy_(torch.tensor(SIZES))
    return prior


def joint(prior: LatentTreePrior, z_M: torch.Tensor) -> dict[tuple[int, ...], torch.Tensor]:
    """Return log p(y, z) for every y, from the definition."""
    log_root_K, log_FSS = prior.log_weights(), prior.log_transitions()
    logs = {}
    for y in itertools.product(*map(range, SIZES)):
        log = log_root_K[y[0]] + sum(log_FSS[f, y[PARENTS[f]], y[f]] for f in range(1, F))
        for m, f in enumerate(FACETS):
            log = log + Normal(prior.mean_SM[y[f], m], (0.5 * prior.log_var_SM[y[f], m]).exp()).log_prob(z_M[m])
        logs[y] = log
    return logs


@pytest.mark.parametrize("n_heads", [1, K])
@torch.no_grad()
def test_messages_give_what_enumeration_gives(n_heads):
    prior = tree(n_heads)
    z_LNHM = torch.randn(2, 2, n_heads, M, dtype=torch.float64)
    log_prob_LNK = prior.log_prob(z_LNHM)
    log_NFS = prior.log_facets(z_LNHM[0, :, 0])
    for sample, row, head in itertools.product(range(2), range(2), range(n_heads)):
        logs = joint(prior, z_LNHM[sample, row, head])
        for k in [head] if n_heads > 1 else range(K):
            total = torch.stack([log for y, log in logs.items() if y[0] == k]).logsumexp(0)
            torch.testing.assert_close(log_prob_LNK[sample, row, k], total - prior.log_weights()[k])
        if sample == head == 0:
            everything = torch.stack(list(logs.values())).logsumexp(0)
            for f, size in enumerate(SIZES):
                total_S = [torch.stack([log for y, log in logs.items() if y[f] == s]).logsumexp(0) for s in range(size)]
                torch.testing.assert_close(log_NFS[row, f, :size], torch.stack(total_S) - everything)


@torch.no_grad()
def test_the_kl_is_exact_for_the_root_and_an_expectation_for_the_rest():
    prior = tree(1)
    posterior = Gaussian(torch.randn(1, 1, M, dtype=torch.float64), torch.randn(1, 1, M, dtype=torch.float64))
    z_LNHM = posterior.sample(50_000, torch.Generator().manual_seed(0))
    log_q_LN1 = gaussian_log_prob(z_LNHM, posterior.mean, posterior.log_var)
    plain_NK = (log_q_LN1 - prior.log_prob(z_LNHM)).mean(0)
    torch.testing.assert_close(prior.kl(posterior, z_LNHM), plain_NK, atol=0.05, rtol=0.0)
    prior._forget_facets()
    exact_NK = component_kl(posterior.mean, posterior.log_var, prior.mean_SM, prior.log_var_SM)
    torch.testing.assert_close(prior.kl(posterior, z_LNHM[:1]), exact_NK)


@torch.no_grad()
def test_samples_have_the_density_of_their_component():
    prior = tree(1)
    z_RM = prior.sample(50_000, 1, torch.Generator().manual_seed(0))
    weight_S = prior.log_transitions()[1, 1].exp()
    m = FACETS.index(1)
    expected = MixtureSameFamily(
        Categorical(weight_S), Normal(prior.mean_SM[:, m], (0.5 * prior.log_var_SM[:, m]).exp())
    )
    for quantile in (0.1, 0.5, 0.9):
        value = z_RM[:, m].quantile(quantile)
        assert float(expected.cdf(value)) == pytest.approx(quantile, abs=0.01)


def start_of(*, weighted: bool) -> tuple[PriorPlacement, torch.Tensor, torch.Tensor]:
    """Return rows with two independent partitions, their placement by the first, and both partitions.

    Dimensions 0 and 1 depend on the clusters; 2, 3 and 4 on the other partition. The last row is noise.
    """
    generator = torch.Generator().manual_seed(0)
    label_N, other_N = torch.randint(K, (600,), generator=generator), torch.randint(J, (600,), generator=generator)
    z_NM = 0.3 * torch.randn(600, M, generator=generator)
    z_NM[:, :2] += torch.eye(K)[label_N][:, :2] * 3.0
    z_NM[:, 2:] += other_N[:, None] * 2.0
    label_N[-1] = -1
    weight_N = torch.ones(600)
    if weighted:  # rows of the other partition count four times as much
        weight_N = 1.0 + 3.0 * other_N
        weight_N /= weight_N.mean()
    components, weight_K = cluster_moments(z_NM, label_N, K, weight_N)
    return PriorPlacement(z_NM, label_N, components, weight_K, weight_N if weighted else None), label_N, other_N


@pytest.mark.parametrize("weighted", [False, True])
def test_dimensions_with_another_partition_get_a_facet_of_their_own(weighted):
    start, label_N, other_N = start_of(weighted=weighted)
    prior = LatentTreePrior(Dims(6, 6, K, 1, M), LatentTreeOptions())
    prior.place_on(start)
    assert prior.used_facets() == [0, 1]
    assert prior.facet_FM.tolist() == [[1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0] * 5]
    assert prior.describe(1) == "facet 1 (below facet 0): 2 states, latent dimensions 3, 4, 5"
    log_NFS = prior.log_facets(start.z_NM)
    assert torch.equal(log_NFS[:-1, 0].argmax(-1), label_N[:-1])
    state_N = log_NFS[:, 1].argmax(-1)
    assert torch.equal(state_N, other_N) or torch.equal(state_N, 1 - other_N)
    share = float(torch.bincount(other_N[:-1], start.weight_N[:-1] if weighted else None)[1] / 599)
    for k in range(K):
        assert float(prior.log_transitions()[1, k].detach().exp()[state_N[other_N == 1][0]]) == pytest.approx(
            share, abs=0.07
        )


def test_latents_that_the_clusters_explain_stay_in_one_facet():
    generator = torch.Generator().manual_seed(0)
    label_N = torch.arange(600) % K
    z_NM = torch.randn(600, M, generator=generator) + 3.0 * torch.eye(K, M)[label_N]
    prior = LatentTreePrior(Dims(6, 6, K, 1, M), LatentTreeOptions())
    prior.place_on(PriorPlacement(z_NM, label_N, *cluster_moments(z_NM, label_N, K)))
    assert prior.used_facets() == [0]


def test_the_mutual_information_of_equal_and_of_independent_facets():
    one_NS = torch.eye(2, dtype=torch.float64)[torch.tensor([0, 0, 1, 1])]
    other_NS = torch.eye(2, dtype=torch.float64)[torch.tensor([0, 1, 0, 1])]
    weight_N = torch.ones(4, dtype=torch.float64)
    assert mutual_information(one_NS, one_NS, weight_N) == pytest.approx(0.6931472)
    assert mutual_information(one_NS, other_NS, weight_N) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("options", "words"), [({"facets": 0}, "facets must be at least 1"), ({"states": 1}, "states must be at least 2")]
)
def test_an_option_out_of_range_is_named(options, words):
    with pytest.raises(UsageError, match=words):
        LatentTreeOptions(**options)
