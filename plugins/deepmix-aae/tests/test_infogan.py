"""InfoGAN keeps its contract, each player of the game has its own gradient, and it generates clusters."""

from __future__ import annotations

import pytest
import torch
from deepmix_aae import Infogan
from deepmix_aae.infogan import InfoganOptions

from deepmix.contracts import Batch, Phase
from deepmix.data import CellBlock
from deepmix.errors import UsageError
from deepmix.maths import Dims, component_kl
from deepmix.models import Composite
from deepmix.testing import ModelKit, StandInLikelihood

N, K, M, D = 60, 3, 2, 6


def build(**options) -> Infogan:
    torch.manual_seed(0)
    composite = Composite([StandInLikelihood(CellBlock("cells", D))])
    return Infogan(Dims(D, D, K, 1, M), composite, Infogan.Options(hidden="32-16", **options))


def rows() -> torch.Tensor:
    """Return rows of three groups in turn."""
    noise_ND = torch.randn(N, D, generator=torch.Generator().manual_seed(0))
    return torch.eye(K, D)[torch.arange(N) % K] * 3.0 + 0.3 * noise_ND


def batch(seed: int = 1, **fields) -> Batch:
    return Batch(rows(), generator=torch.Generator().manual_seed(seed), **fields)


class TestInfogan(ModelKit):
    part = Infogan
    test_command_line = test_compile = None  # slow; tests/plugins/test_runs.py trains with it


def gradients(model: Infogan, cost_N: torch.Tensor) -> set[str]:
    """Return the networks that a cost moves."""
    model.zero_grad()
    cost_N.sum().backward(retain_graph=True)
    moved = {name for name, value in model.named_parameters() if value.grad is not None and value.grad.abs().sum() > 0}
    return {".".join(name.split(".")[: 2 if name.startswith("critic") else 1]) for name in moved}


def test_each_player_has_its_own_gradient():
    model = build()
    costs = model._game(rows(), torch.Generator().manual_seed(1))
    assert gradients(model, costs["discriminator"]) == {"critic.trunk", "critic.verdict"}
    assert gradients(model, costs["generator"]) == {"generator", "outputs"}
    recognition = {"generator", "outputs", "critic.trunk", "critic.clusters", "critic.codes"}
    assert gradients(model, costs["recognition"]) == recognition


def test_discriminator_and_recognition_see_rows_with_noise(monkeypatch):
    model, seen = build(noise=0.5), []
    recognise, discriminate = model.critic.recognise, model.critic.forward
    monkeypatch.setattr(model.critic, "recognise", lambda rows_NC: (seen.append(rows_NC), recognise(rows_NC))[1])
    monkeypatch.setattr(model.critic, "forward", lambda rows_NC: (seen.append(rows_NC), discriminate(rows_NC))[1])
    model._game(rows(), torch.Generator().manual_seed(1))
    both_NC, recognised_NC, fooling_NC = seen
    torch.testing.assert_close(recognised_NC, both_NC[N:])
    torch.testing.assert_close(fooling_NC, both_NC[N:])
    assert (both_NC[:N] - rows()).std().item() == pytest.approx(0.5, rel=0.15)


def test_the_bound_is_that_of_the_recognition_network_as_a_posterior():
    model = build()
    loss = model(Batch(rows()))
    log_q_NK, posterior = model.critic.recognise(rows())
    outputs_NP = model.decode(posterior.mean, log_q_NK.argmax(-1))
    torch.testing.assert_close(loss.terms["reconstruction"], model.likelihood.log_prob(rows(), outputs_NP))
    kl_N = component_kl(posterior.mean.unsqueeze(1), posterior.log_var.unsqueeze(1), None, None)[:, 0]
    torch.testing.assert_close(loss.terms["kl_latent"], kl_N.detach())
    entropy_N = -(log_q_NK.exp() * log_q_NK).sum(-1)
    expected_N = torch.log(torch.tensor(float(K))) - entropy_N
    torch.testing.assert_close(loss.terms["kl_assignment"], expected_N.detach())
    assert set(loss.terms) == {"reconstruction", "kl_latent", "kl_assignment"}, (
        "without random numbers there is no game"
    )


def test_placing_rescales_the_codes_and_leaves_their_decoding():
    model = build()
    code_NM, squared_error_N = model.pretrained(batch())
    before = model._decode_codes(code_NM)
    model.place(code_NM, squared_error_N, torch.arange(N) % K)
    placed_NM = model.infer(batch())[1]
    torch.testing.assert_close(placed_NM.mean(0), torch.zeros(M), atol=1e-4, rtol=0)
    torch.testing.assert_close(placed_NM.std(0), torch.ones(M), atol=1e-3, rtol=0)
    torch.testing.assert_close(model._decode_codes(placed_NM), before, atol=1e-4, rtol=0)


def test_anchored_to_groups_it_generates_rows_of_its_own_cluster():
    model, label_N = build(critic_rate=0.2), torch.arange(N) % K
    optimizer = model.optimizer("train", 0.005)
    assert [group["lr"] for group in optimizer.param_groups] == [0.005, 0.001]
    assert model.optimizer("pretrain", 0.005) is None
    for seed in range(60):
        optimizer.zero_grad()
        (-model(batch(seed, label_N=label_N, phase=Phase(anchor=3.0))).objective_N.mean()).backward()
        optimizer.step()
    assert torch.equal(model.infer(batch())[0].argmax(-1), label_N)
    for component in range(K):
        generated_RD = model.sample(50, component, torch.Generator().manual_seed(0))
        assert (generated_RD[:, :K].argmax(-1) == component).float().mean() > 0.9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"code_weight": -1.0}, "code_weight must be at least 0 and finite"),
        ({"noise": float("inf")}, "noise must be at least 0 and finite"),
        ({"critic_rate": 0.0}, "critic_rate must be above 0 and finite"),
        ({"hidden": "16,8"}, "hidden must be 'auto' or widths such as 500-500-2000, got '16,8'"),
    ],
)
def test_an_option_out_of_range_is_named(options, words):
    with pytest.raises(UsageError, match=words):
        InfoganOptions(**options)
