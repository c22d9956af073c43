"""Checks of a plugin: each builds it and asserts its contract by an AssertionError that says what was expected."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepmix.contracts import (
    Batch,
    ClusteringHead,
    Dataset,
    Decoder,
    DensityPrior,
    Encoder,
    Initializer,
    Loss,
    Model,
    Phase,
    PosteriorEstimator,
    Prior,
    Progress,
    TrainingRows,
)
from deepmix.data import RowTensors
from deepmix.maths import Dims, Gaussian, Inference, Latents, MixtureParameters, seeded_draws
from deepmix.testing.assertions import TOLERANCE, assert_close, assert_empty_rows, assert_same_shape
from deepmix.testing.density_check import StandInEncoder, check_density
from deepmix.testing.split_check import check_split

DIMS = Dims(n_features=12, n_outputs=12, n_components=4, n_heads=4, latent_dim=3, image_shape=(3, 4, 1))
"""Sizes that the parts are checked with, chosen so that swapped axes show."""


N_ROWS = 7


BOUND = ("reconstruction", "kl_latent", "kl_assignment")
"""Terms that every model's training loss has: the parts of the evidence lower bound."""


def check_encoder(encoder_class: type[Encoder], dims: Dims = DIMS) -> None:
    """Check shapes, the code's agreement with the first head, and what `place` promises."""
    encoder = _build(encoder_class, Encoder, dims)
    x_ND = torch.rand(N_ROWS, dims.n_features)
    posterior = encoder(x_ND)
    assert_same_shape("mean of forward(x)", posterior.mean, (N_ROWS, dims.n_heads, dims.latent_dim))
    assert_same_shape("log_var of forward(x)", posterior.log_var, (N_ROWS, dims.n_heads, dims.latent_dim))
    code_NM = encoder.code(x_ND)
    assert_same_shape("code(x)", code_NM, (N_ROWS, dims.latent_dim))
    assert_close("code(x) and the first head's mean", code_NM, posterior.mean[:, 0])
    shift_M, scale_M = torch.randn(dims.latent_dim), torch.rand(dims.latent_dim) + 0.5
    encoder.place(shift_M, scale_M, log_var=-1.5)
    placed = encoder(x_ND)
    expected = ((code_NM - shift_M) / scale_M).unsqueeze(1).expand_as(placed.mean)
    assert_close("every head's mean after place() and the standardised code", placed.mean, expected)
    assert_close("log_var after place()", placed.log_var, torch.full_like(placed.log_var, -1.5))
    assert_empty_rows(lambda: encoder(torch.rand(0, dims.n_features)).mean)


def check_decoder(decoder_class: type[Decoder], dims: Dims = DIMS) -> None:
    """Check shapes, that rows don't depend on the other rows of their batch, and what `place` promises."""
    decoder = _build(decoder_class, Decoder, dims)
    counts_H = [2, 0, 1, *[0] * (dims.n_heads - 4), 4][-dims.n_heads :] if dims.n_heads > 1 else [N_ROWS]
    z_RM = torch.randn(sum(counts_H), dims.latent_dim)
    outputs_RP = decoder(z_RM, counts_H)
    assert_same_shape("decoder(z, counts)", outputs_RP, (len(z_RM), dims.n_outputs))
    one_row_H = [0] * dims.n_heads
    one_row_H[next(head for head, count in enumerate(counts_H) if count)] = 1
    assert_close("a row decoded alone and among others", decoder(z_RM[:1], one_row_H), outputs_RP[:1])
    first_head = [len(z_RM)] + [0] * (dims.n_heads - 1)
    before = decoder(z_RM, first_head)
    shift_M, scale_M = torch.randn(dims.latent_dim), torch.rand(dims.latent_dim) + 0.5
    decoder.place(shift_M, scale_M)
    assert_close("place() and the code it undoes", decoder((z_RM - shift_M) / scale_M, first_head), before)
    assert_empty_rows(lambda: decoder(z_RM[:0], [0] * dims.n_heads))


def check_prior(prior_class: type[Prior], dims: Dims = DIMS) -> None:
    """Check shapes, and that the weights are a distribution before and after `place`."""
    prior = _build(prior_class, Prior, dims)
    prior.bind(StandInEncoder(dims))
    for stage in ("new", "placed"):
        parameters = prior()
        if not isinstance(parameters, MixtureParameters):
            raise AssertionError(f"forward() must return MixtureParameters, got {type(parameters).__name__}")
        assert_same_shape("log_weight_K", parameters.log_weight_K, (dims.n_components,))
        total = parameters.log_weight_K.exp().sum()
        assert_close(f"the sum of the {stage} weights and 1", total, torch.ones(()))
        if parameters.components is not None:
            shape = (dims.n_components, dims.latent_dim)
            assert_same_shape("the components' mean", parameters.components.mean, shape)
            assert_same_shape("the components' log_var", parameters.components.log_var, shape)
        if isinstance(prior, DensityPrior):
            check_density(prior, dims)
        components = Gaussian(*torch.randn(2, dims.n_components, dims.latent_dim).unbind())
        prior.place(components, torch.full((dims.n_components,), 1.0 / dims.n_components))


def check_posterior(posterior_class: type[PosteriorEstimator], dims: Dims = DIMS) -> None:
    """Check that q(y|x) is a distribution over the components of each row, in training and at the mean."""
    estimator = _build(posterior_class, PosteriorEstimator, dims)
    log_likelihood_LNK = -20.0 * torch.rand(2, N_ROWS, dims.n_components)
    for at_mean in (False, True):
        latents = _latents(dims, n_samples=1 if at_mean else 2, at_mean=at_mean)
        sample_likelihood = log_likelihood_LNK[: len(latents.z_LNHM)] if estimator.needs_likelihood else None
        result = estimator(latents, sample_likelihood)
        assert_same_shape("log_q_NK", result.log_q_NK, (N_ROWS, dims.n_components))
        assert_same_shape("log_normalizer_N", result.log_normalizer_N, (N_ROWS,))
        assert_close("each row's sum of q(y|x) and 1", result.log_q_NK.exp().sum(-1), torch.ones(N_ROWS))


def check_initializer(initializer_class: type[Initializer]) -> None:
    """Check the labels' shape, range and reproducibility on three well-separated groups."""
    initializer = initializer_class(_options(initializer_class))  # type: ignore[call-arg]
    random = np.random.default_rng(0)
    x_ND = (np.repeat(np.eye(3, 5) * 8.0, 20, axis=0) + random.normal(size=(60, 5))).astype(np.float32)
    fractions: list[float] = []
    rows = TrainingRows(x_ND, x_ND[:, :4].copy(), progress=Progress(lambda _, fraction: fractions.append(fraction)))
    labels = []
    for _ in range(2):
        fractions.clear()
        labels.append(np.asarray(initializer.initial_labels(rows, 3, seed=1)))
    if labels[0].shape != (60,) or labels[0].dtype != np.int64:
        raise AssertionError(f"initial_labels must return (N,) int64, got {labels[0].shape} {labels[0].dtype}")
    if labels[0].min() < -1 or not 0 <= labels[0].max() < 3:
        raise AssertionError("initial_labels must lie in [0, n_components), or be -1 for noise, and not all be noise")
    if not np.array_equal(labels[0], labels[1]):
        raise AssertionError("initial_labels must give the same labels for the same seed")
    if fractions != sorted(fractions):
        raise AssertionError("the fraction of the work that is done must not fall from one step to the next")
    weighted = np.asarray(initializer.initial_labels(replace(rows, weight_N=np.linspace(0.5, 2.0, 60)), 3, seed=1))
    if weighted.shape != (60,) or weighted.dtype != np.int64 or weighted.min() < -1 or weighted.max() >= 3:
        raise AssertionError("initial_labels must return (N,) int64 in [0, n_components) for rows with weights too")


def check_head(head_class: Any) -> None:
    """Check a ClusteringHead, or a scikit-learn clusterer, on three well-separated groups."""
    random = np.random.default_rng(0)
    latent_NM = (np.repeat(np.eye(3) * 9.0, 20, axis=0) + random.normal(size=(60, 3))).astype(np.float32)
    log_q_NK = np.log(np.repeat(np.eye(3) * 0.97 + 0.01, 20, axis=0))
    inference = Inference(log_q_NK, latent_NM)
    if isinstance(head_class, type) and issubclass(head_class, ClusteringHead):
        head = head_class(_options(head_class))  # type: ignore[call-arg]
        head.fit(inference, 3, seed=0)
        clusters = np.asarray(head.predict(inference))
        state = head.state()
        if state is not None:
            restored = head_class(_options(head_class))  # type: ignore[call-arg]
            restored.restore({name: np.array(value) for name, value in state.items()})
            if not np.array_equal(restored.predict(inference), clusters):
                raise AssertionError("a head given another's state() by restore() must predict the same clusters")
    else:
        clusterer = head_class()
        if not (hasattr(clusterer, "fit") and hasattr(clusterer, "predict")):
            raise AssertionError(f"a head needs fit and predict, and {type(clusterer).__name__} lacks one")
        clusters = np.asarray(clusterer.fit(latent_NM).predict(latent_NM))
    if clusters.shape != (60,) or clusters.dtype.kind not in "iu":
        raise AssertionError(f"predict must return (N,) integers, got {clusters.shape} {clusters.dtype}")
    if clusters.min() < -1:
        raise AssertionError(f"predict must return cluster numbers from 0, or -1 for noise, got {clusters.min()}")


def check_dataset(dataset_class: type[Dataset], data_dir: Path | None = None) -> None:
    """Check that the split covers every row once, and the type of rows, labels and likelihood."""
    split = dataset_class(_options(dataset_class)).load(data_dir)  # type: ignore[call-arg]
    check_split(split)


def check_model(model: Model, n_features: int, rows: RowTensors | None = None) -> None:
    """Check a built model: pretraining, placing, the loss and its gradient, inference, sampling.

    Args:
        model: the model; its weights change.
        n_features: width of an encoder's input.
        rows: rows to check it with, at least two for each component; None: random rows of an array in 0..1.

    """
    if rows is None:
        rows = RowTensors(torch.rand(max(N_ROWS, 2 * model.n_components), n_features))
    n_rows = len(rows.x_ND)
    batch = Batch.of(rows)
    pretraining = model(Batch.of(rows, generator=torch.Generator().manual_seed(3), phase=Phase("pretrain")))
    _check_loss(pretraining, n_rows)
    code_NM, squared_error_N = model.pretrained(batch)
    assert_same_shape("pretrained(batch)[0]", code_NM, (n_rows, model.latent_dim))
    assert_same_shape("pretrained(batch)[1]", squared_error_N, (n_rows,))
    label_N = torch.arange(n_rows) % model.n_components
    model.place(code_NM, squared_error_N, label_N)
    row_N, anchored = torch.arange(n_rows), Phase(anchor=1.0)
    losses: list[Loss] = [
        model(Batch.of(rows, generator=torch.Generator().manual_seed(3), phase=anchored, row_N=row_N, label_N=label_N))
        for _ in range(2)
    ]
    first, second = losses
    _check_loss(first, n_rows)
    assert_close("objective_N of two generators of one seed", first.objective_N, second.objective_N)
    for name in BOUND:
        if name not in first.terms:
            raise AssertionError(f"terms must hold {', '.join(BOUND)}; '{name}' is missing")
    for name, term_N in first.terms.items():
        assert_close(f"term '{name}' of two generators of one seed", term_N, second.terms[name])
    reconstruction_N, kl_latent_N, kl_assignment_N = (first.terms[name] for name in BOUND)
    assert_close(
        "elbo_N and reconstruction minus both KL terms", first.elbo_N, reconstruction_N - kl_latent_N - kl_assignment_N
    )
    if model.n_neighbours:
        generator = torch.Generator().manual_seed(3)
        alone, beside = (
            model(Batch.of(rows, generator=generator.clone_state(), neighbours=neighbours))
            for neighbours in (None, Batch.of(rows.take(row_N.flip(0))))
        )
        assert_close("elbo_N with and without neighbours", alone.elbo_N, beside.elbo_N)
        if not (beside.objective_N <= alone.objective_N + TOLERANCE).all():
            raise AssertionError("neighbours must lower the objective, never raise it")
    if any(p.requires_grad for p in model.parameters()):  # otherwise `place` was the whole fit
        (-first.objective_N.mean()).backward()
        if not any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters()):
            raise AssertionError("the objective must have a gradient")
        model.zero_grad()
    log_q_NK, latent_NM = model.infer(batch)
    assert_same_shape("infer(batch)[0]", log_q_NK, (n_rows, model.n_components))
    assert_same_shape("infer(batch)[1]", latent_NM, (n_rows, model.latent_dim))
    assert_close("each row's sum of q(y|x) and 1", log_q_NK.exp().sum(-1), torch.ones(n_rows))
    if not torch.equal(log_q_NK, model.infer(batch)[0]):
        raise AssertionError("infer must be deterministic")
    z_NM = model.prior_sample(5, 0, torch.Generator())
    assert_same_shape("prior_sample(5, 0, generator)", z_NM, (5, model.latent_dim))
    component_N, z_NM = model.posterior_sample(Batch.of(rows, generator=torch.Generator().manual_seed(3)))
    assert_same_shape("posterior_sample(batch)[0]", component_N, (n_rows,))
    assert_same_shape("posterior_sample(batch)[1]", z_NM, (n_rows, model.latent_dim))
    outputs_NP = model.decode(z_NM, component_N, batch.condition_NQ)
    for n in range(min(n_rows, N_ROWS)):
        condition_NQ = None if batch.condition_NQ is None else batch.condition_NQ[[n]]
        alone_NP = model.decode(z_NM[[n]], component_N[[n]], condition_NQ)
        assert_close("a row decoded alone and among others", alone_NP, outputs_NP[[n]])
    clone = copy.deepcopy(model)
    clone.load_state_dict(model.state_dict())
    assert_close("q(y|x) after a round trip of state_dict()", clone.infer(batch)[0], log_q_NK)


def _check_loss(loss: Any, n_rows: int) -> None:
    """Check that forward returned a Loss, each of whose terms has a value for every row."""
    if not isinstance(loss, Loss):
        raise AssertionError(f"forward(batch) must return a Loss, got {type(loss).__name__}")
    for name, value_N in {"objective_N": loss.objective_N, "elbo_N": loss.elbo_N, **loss.terms}.items():
        assert_same_shape(name, value_N, (n_rows,))


def _options(plugin_class: Any) -> Any:
    return plugin_class.Options()


def _build(part_class: Any, interface: type, dims: Dims) -> Any:
    """Return the part, always with the same initial weights."""
    if not (isinstance(part_class, type) and issubclass(part_class, interface)):
        raise AssertionError(f"{part_class!r} must be a subclass of deepmix.contracts.{interface.__name__}")
    with seeded_draws(0):
        make: Any = part_class
        return make(dims, _options(part_class))


def _latents(dims: Dims, *, n_samples: int, at_mean: bool) -> Latents:
    generator = torch.Generator().manual_seed(1)
    shape = (N_ROWS, dims.n_heads, dims.latent_dim)
    posterior = Gaussian(torch.randn(shape, generator=generator), torch.zeros(shape) - 1.0)
    prior = MixtureParameters(None, torch.full((dims.n_components,), 1.0 / dims.n_components).log())
    kl_NK = torch.rand(N_ROWS, dims.n_components, generator=generator) * 5.0
    noise_LNHM = posterior.noise(n_samples, None if at_mean else generator)
    return Latents(noise_LNHM, posterior, prior, kl_NK, at_mean)
