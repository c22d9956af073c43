from __future__ import annotations

import pytest
import torch
from deepmix_aae import Aae
from deepmix_aae.model import Discriminator

from deepmix.contracts import Batch
from deepmix.data import CellBlock
from deepmix.errors import UsageError
from deepmix.maths import Dims
from deepmix.models import Composite
from deepmix.testing import StandInLikelihood, check_model

N, K, M, D = 12, 3, 2, 6


@pytest.fixture
def model() -> Aae:
    torch.manual_seed(0)
    composite = Composite([StandInLikelihood(CellBlock("cells", D))])
    return Aae(Dims(D, D, K, 1, M), composite, Aae.Options(hidden="16-8", adversary_width=8))


def batch(seed: int = 1, **fields: object) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(N, D, generator=torch.Generator().manual_seed(0)), generator=generator, **fields)


def test_the_model_keeps_its_contract(model):
    check_model(model, D)


def test_placing_rescales_the_styles_and_leaves_their_decoding(model):
    code_NM, squared_error_N = model.pretrained(batch())
    before = model.decode(code_NM, torch.zeros(N, dtype=torch.long))
    model.place(code_NM, squared_error_N, torch.arange(N) % K)
    placed_NM = model.infer(batch())[1]
    torch.testing.assert_close(placed_NM.mean(0), torch.zeros(M), atol=1e-5, rtol=0)
    torch.testing.assert_close(placed_NM.std(0), torch.ones(M), atol=1e-4, rtol=0)
    torch.testing.assert_close(model.decode(placed_NM, torch.zeros(N, dtype=torch.long)), before)


def test_each_side_of_the_game_has_its_own_gradient(model):
    loss = model.training_loss(batch())
    z_NM, log_q_NK = model._encode(batch().x_ND)
    for adversary, code in ((model.style_adversary, z_NM), (model.cluster_adversary, log_q_NK.exp())):
        assert torch.equal(adversary.frozen(code), adversary(code))
        own = torch.autograd.grad(adversary.cost(code, code.detach()).sum(), code, allow_unused=True)[0]
        assert own is None, "a discriminator's cost must not move the encoder"
        fooling = torch.autograd.grad(
            adversary.frozen(code).sum(), [code, *adversary.parameters()], allow_unused=True, retain_graph=True
        )
        assert fooling[0].abs().sum() > 0
        assert all(value is None for value in fooling[1:]), "the encoder's cost must not move a discriminator"
    assert torch.equal(loss.terms["kl_latent"], model.style_adversary(z_NM))
    generator = batch().generator
    torch.randn(N, M, generator=generator), torch.randint(K, (N,), generator=generator)  # draws of the prior
    noisy_NK = log_q_NK.exp() + 0.5 * torch.randn(N, K, generator=generator)
    torch.testing.assert_close(loss.terms["kl_assignment"], model.cluster_adversary(noisy_NK))


def test_a_trained_discriminator_estimates_the_log_density_ratio():
    torch.manual_seed(0)
    discriminator = Discriminator(1, 16)
    optimizer = torch.optim.Adam(discriminator.parameters(), 0.01)
    for _ in range(300):
        encoded, prior = torch.randn(256, 1) + 1.0, torch.randn(256, 1)
        optimizer.zero_grad()
        discriminator.cost(encoded, prior).mean().backward()
        optimizer.step()
    z = torch.tensor([[-0.5], [0.5], [1.5]])
    torch.testing.assert_close(discriminator(z).detach(), z[:, 0] - 0.5, atol=0.35, rtol=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden": "16,8"}, "hidden must be 'auto' or widths such as 500-500-2000, got '16,8'"),
        ({"adversary_width": 0}, "adversary_width must be at least 1"),
        ({"adversary": -1.0}, "adversary must be at least 0"),
        ({"cluster_noise": -0.1}, "cluster_noise must be at least 0, got -0.1"),
    ],
)
def test_an_option_out_of_range_is_named(options, words):
    with pytest.raises(UsageError, match=words):
        Aae.Options(**options)
