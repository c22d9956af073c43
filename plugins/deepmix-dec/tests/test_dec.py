"""DEC, IDEC and DCN keep their contract, and do what their papers' equations say."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from deepmix_dec import Dcn, Dec, Idec
from deepmix_dec.formulas import log_frequencies, student_t_log_q, target_distribution
from torch.distributions import StudentT

from deepmix.contracts import Batch, EpochStart, Phase
from deepmix.data import CellBlock
from deepmix.errors import UsageError
from deepmix.maths import Dims
from deepmix.models import Composite
from deepmix.testing import ModelKit, StandInLikelihood

N, K, M, D = 12, 3, 2, 6
ALL_N = torch.arange(N)


class TestDec(ModelKit):
    part = Dec


class TestIdec(ModelKit):
    part = Idec
    test_command_line = test_compile = None  # as in TestDec


class TestDcn(ModelKit):
    part = Dcn
    test_command_line = test_compile = None


def rows(**fields) -> Batch:
    return Batch(torch.rand(N, D, generator=torch.Generator().manual_seed(0)), row_N=ALL_N, **fields)


def part_of(whole: Batch, part: torch.Tensor) -> Batch:
    fields = {f.name: getattr(whole, f.name) for f in dataclasses.fields(whole)}
    return Batch(**{name: value[part] if isinstance(value, torch.Tensor) else value for name, value in fields.items()})


def announce(model, number: int, **fields) -> None:
    halves = [part_of(rows(**fields), part) for part in ALL_N.split(N // 2)]
    with torch.no_grad():
        model.epoch_started(EpochStart("train", number, 5, N, lambda: iter(halves)))


def placed(kind, **options):
    torch.manual_seed(0)
    composite = Composite([StandInLikelihood(CellBlock("cells", D))])
    model = kind(Dims(D, D, K, 1, M), composite, kind.Options(hidden="16-8", **options))
    model.place(*model.pretrained(rows()), ALL_N % K)
    return model


@pytest.mark.parametrize("freedom", [1.0, 3.5])
def test_q_is_a_students_t_kernel(freedom):
    distance_NK = torch.rand(N, K)
    kernel_NK = StudentT(freedom).log_prob(distance_NK).exp()
    torch.testing.assert_close(
        student_t_log_q(distance_NK.square(), freedom).exp(), kernel_NK / kernel_NK.sum(-1, keepdim=True)
    )


def test_the_target_is_that_of_the_papers_third_equation():
    q_NK, weight_N = torch.rand(N, K).softmax(-1), torch.linspace(0.5, 1.5, N)
    for weights, counts_N in ((None, torch.ones(N)), (weight_N, weight_N)):
        unnormalised_NK = q_NK.square() / (counts_N.unsqueeze(-1) * q_NK).sum(0)
        expected_NK = unnormalised_NK / unnormalised_NK.sum(-1, keepdim=True)
        log_frequency_K = log_frequencies(q_NK.log(), weights)
        torch.testing.assert_close(target_distribution(q_NK.log(), log_frequency_K), expected_NK)


@pytest.mark.parametrize("kind", [Dec, Idec, Dcn])
def test_placing_keeps_the_decoding_and_the_ratios_of_distances(kind):
    torch.manual_seed(0)
    model = kind(
        Dims(D, D, K, 1, M), Composite([StandInLikelihood(CellBlock("cells", D))]), kind.Options(hidden="16-8")
    )
    code_NM, squared_error_N = model.pretrained(rows())
    before = model.decode(code_NM, ALL_N)
    label_N = ALL_N % K
    label_N[0] = -1
    model.place(code_NM, squared_error_N, label_N)
    z_NM = model.infer(rows())[1]
    torch.testing.assert_close(model.decode(z_NM, ALL_N), before)
    torch.testing.assert_close(z_NM.var(0).mean(), torch.tensor(1.0))
    scaled = torch.pdist(code_NM) * code_NM.var(0).mean().rsqrt()
    torch.testing.assert_close(torch.pdist(z_NM), scaled, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.centre_KM[0], z_NM[[3, 6, 9]].mean(0))


def test_the_target_stays_until_it_is_refreshed_and_is_restored_with_the_training_state():
    model = placed(Dec, refresh=2)
    announce(model, 0)
    log_q_NK = model.infer(rows())[0]
    target_NK = target_distribution(log_q_NK, log_frequencies(log_q_NK))
    with torch.no_grad():
        model.centre_KM.add_(torch.randn(K, M))
    announce(model, 1)
    log_q_NK = model.infer(rows())[0]
    expected_N = (target_NK * (target_NK.log() - log_q_NK)).sum(-1)
    torch.testing.assert_close(model(rows()).terms["kl_assignment"], expected_N)
    torch.testing.assert_close(model(part_of(rows(), ALL_N[3:7])).terms["kl_assignment"], expected_N[3:7])
    resumed = placed(Dec, refresh=2)
    resumed.load_state_dict(model.state_dict())
    resumed.restore_training_state(model.training_state())
    assert torch.equal(resumed(rows()).objective_N, model(rows()).objective_N)
    announce(model, 2)
    assert (model(rows()).terms["kl_assignment"] - expected_N).abs().max() > 1e-3


@pytest.mark.parametrize(("kind", "weight"), [(Dec, 1.0), (Idec, 0.3)])
def test_only_idec_lets_the_encoder_learn_to_reconstruct(kind, weight):
    model = placed(kind, **({"gamma": weight} if kind is Idec else {}))
    loss = model(rows(phase=Phase(beta=2.0)))
    reconstruction_N, divergence_N = loss.terms["reconstruction"], loss.terms["kl_assignment"]
    torch.testing.assert_close(loss.objective_N.detach(), reconstruction_N / D - 2.0 * weight * divergence_N)
    torch.testing.assert_close(loss.elbo_N, reconstruction_N - divergence_N)
    without = model(rows(phase=Phase(beta=0.0))).objective_N.sum()
    gradient = torch.autograd.grad(without, [*model.decoder.parameters(), *model.encoder.parameters()])
    n_decoder = len(list(model.decoder.parameters()))
    assert gradient[0].abs().sum() > 0
    assert (gradient[n_decoder].abs().sum() > 0) == (kind is Idec)


def test_dcn_does_one_iteration_of_lloyds_algorithm_per_epoch():
    model, weight_N = placed(Dcn, pull=0.5), torch.linspace(0.5, 1.5, N)
    with torch.no_grad():
        model.centre_KM.copy_(torch.tensor([[0.0, 0.0], [0.3, -0.3], [99.0, 99.0]]) + model.infer(rows())[1].mean(0))
    z_NM, before_KM = model.infer(rows())[1], model.centre_KM.clone()
    cluster_N = torch.cdist(z_NM, before_KM).argmin(-1)
    assert cluster_N.unique().tolist() == [0, 1]
    announce(model, 0, weight_N=weight_N)
    for k in (0, 1):
        members = cluster_N == k
        expected_M = (weight_N[members, None] * z_NM[members]).sum(0) / weight_N[members].sum()
        torch.testing.assert_close(model.centre_KM[k], expected_M)
    assert torch.equal(model.centre_KM[2], before_KM[2])
    with torch.no_grad():
        model.centre_KM[2].copy_(z_NM.mean(0))  # now the nearest of some rows, which wait for the next epoch
    distance_N = (z_NM - model.centre_KM[cluster_N]).square().sum(-1)
    loss = model(rows())
    torch.testing.assert_close(loss.terms["kl_latent"], 0.25 * distance_N)
    torch.testing.assert_close(loss.objective_N.detach(), loss.terms["reconstruction"] - 0.25 * distance_N)
    nearest_N = torch.cdist(z_NM, model.centre_KM).argmin(-1)
    label_N = torch.where(ALL_N < 5, 2, -1)
    announce(model, 1, phase=Phase(hold=True), label_N=label_N)
    assert torch.equal(model.cluster_N, torch.where(label_N == 2, 2, nearest_N))


def test_sgd_trains_at_its_own_rate_and_pretraining_keeps_adam():
    model = placed(Dec, optimizer="sgd")
    optimizer = model.optimizer("train", 0.002)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)
    assert model.optimizer("pretrain", 0.002) is None
    assert placed(Dec).optimizer("train", 0.002) is None


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (Dec, {"hidden": "16,8"}, "hidden must be 'auto' or widths such as 500-500-2000, got '16,8'"),
        (Dec, {"freedom": 0.0}, "freedom must be above 0 and finite"),
        (Idec, {"refresh": 0}, "refresh must be at least 1"),
        (Idec, {"gamma": -1.0}, "gamma must be at least 0"),
        (Dcn, {"pull": float("inf")}, "pull must be at least 0 and finite"),
    ],
)
def test_an_option_out_of_range_is_named(kind, options, words):
    with pytest.raises(UsageError, match=words):
        kind.Options(**options)
