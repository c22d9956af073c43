"""The widths of the fully connected networks: by the number of columns, as asked for, and in runs saved before."""

from __future__ import annotations

import pytest
from deepmix_builtins.networks.decoders import MlpDecoder
from deepmix_builtins.networks.encoders import MlpEncoder, MlpOptions
from torch import nn

from deepmix.errors import UsageError
from deepmix.maths import Dims
from deepmix.runs import from_plain


def widths_of(trunk: nn.Module) -> list[int]:
    return [layer.out_features for layer in trunk.modules() if isinstance(layer, nn.Linear)]


def networks(n_features: int, options: MlpOptions) -> tuple[list[int], list[int]]:
    """Return the hidden widths of an encoder and of its decoder, both from the data's side."""
    dims = Dims(n_features, n_features, n_components=3, n_heads=3, latent_dim=2)
    encoder, decoder = MlpEncoder(dims, options), MlpDecoder(dims, options)
    return widths_of(encoder.trunk), [*widths_of(decoder.trunk)[::-1], decoder.first.out_features]


@pytest.mark.parametrize(
    ("n_features", "widths"),
    [(2, [64, 64]), (31, [64, 64]), (32, [256, 256]), (127, [256, 256]), (128, [500, 500, 2000])],
)
def test_auto_widths_depend_on_the_columns(n_features, widths):
    assert networks(n_features, MlpOptions()) == (widths, widths)


@pytest.mark.parametrize("n_features", [2, 64, 200])
def test_widths_that_are_asked_for_hold_for_any_columns(n_features):
    assert networks(n_features, MlpOptions("7-5")) == ([7, 5], [7, 5])


@pytest.mark.parametrize(
    ("n_features", "options", "factor"),
    [(31, MlpOptions(), 3.0), (32, MlpOptions(), 1.0), (31, MlpOptions("64-64"), 1.0)],
)
def test_narrow_networks_take_larger_steps(n_features, options, factor):
    dims = Dims(n_features, n_features, n_components=3, n_heads=3, latent_dim=2)
    assert MlpEncoder(dims, options).lr_factor == factor


def test_a_table_has_the_wider_networks():
    dims = Dims(4, 4, n_components=3, n_heads=3, latent_dim=2, cell_of_feature=(0, 0, 1, 2))
    encoder = MlpEncoder(dims, MlpOptions())
    assert (widths_of(encoder.trunk), encoder.lr_factor) == ([256, 256], 1.0)


def test_widths_of_256_take_the_steps_that_they_take_elsewhere():
    dims = Dims(4, 4, n_components=3, n_heads=3, latent_dim=2)
    assert MlpEncoder(dims, MlpOptions(narrow="256-256")).lr_factor == 1.0


def test_narrow_widths_can_be_chosen():
    assert networks(4, MlpOptions(narrow="9")) == ([9], [9])
    with pytest.raises(UsageError, match="narrow must be widths such as 256-256, got 'auto'"):
        MlpOptions(narrow="auto")


def test_a_run_from_before_has_the_widths_that_it_was_trained_with():
    assert networks(4, from_plain(MlpOptions, {"hidden": "auto"})) == ([256, 256], [256, 256])
