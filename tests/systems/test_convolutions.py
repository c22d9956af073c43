"""The convolutional parts: image shapes, where they come from, and Digits by `vade-conv`."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from deepmix_builtins.networks.convolutions import ConvDecoder, ConvEncoder, ConvOptions, ToChannels, ToRows

from deepmix.data import SplitOptions, arrange_rows
from deepmix.errors import UsageError
from deepmix.experiment import ExperimentConfig, prepare_experiment
from deepmix.maths import Dims
from deepmix.testing import check_decoder, check_encoder


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (7, 5, 3), (1, 9, 1), (1, 1, 2)], ids=str)
@pytest.mark.parametrize("n_parts", [1, 2])
def test_any_image_goes_in_and_comes_out(shape, n_parts):
    n_features = int(np.prod(shape))
    dims = Dims(n_features, n_parts * n_features, 4, 4, 3, shape)
    check_encoder(ConvEncoder, dims)
    check_decoder(ConvDecoder, dims)


def test_rows_and_images_are_the_same_pixels():
    images = np.arange(2 * 3 * 4 * 3, dtype=np.float32).reshape(2, 3, 4, 3)
    rows = torch.from_numpy(images.reshape(2, -1))
    actual = ToChannels((3, 4, 3))(rows)
    assert actual[1, 2, 0, 3] == images[1, 0, 3, 2]
    assert torch.equal(ToRows(3)(actual), rows)
    both = ToRows(3)(torch.cat([actual, -actual], dim=1))
    assert torch.equal(both, torch.cat([rows, -rows], dim=1))


def test_a_pixel_moves_only_what_is_near_it():
    """Two stages of 3 x 3 see 7 x 7 pixels: a far corner's features stay as they are."""
    dims = Dims(256, 256, 4, 1, 3, (16, 16, 1))
    encoder = ConvEncoder(dims, ConvOptions("16-16", 8))
    stages = encoder.trunk[:5]
    x = torch.zeros(1, 256)
    changed = x.clone()
    changed[0, 0] = 1.0
    difference = (stages(changed) - stages(x)).abs().amax(1)[0]
    assert difference[0, 0] > 0
    assert torch.equal(difference[1:, 1:], torch.zeros(3, 3))


@pytest.mark.parametrize(
    ("shape", "setting", "expected"),
    [
        ((5, 28, 28), "auto", (28, 28, 1)),
        ((5, 4, 6, 3), "auto", (4, 6, 3)),
        ((5, 12), "auto", None),
        ((5, 2, 2, 5), "auto", None),
        ((5, 12), "3x4", (3, 4, 1)),
        ((5, 12), "2x2x3", (2, 2, 3)),
    ],
)
def test_source_of_the_image_shape(shape, setting, expected):
    x = np.random.default_rng(0).random(shape)
    assert arrange_rows(x, None, SplitOptions(image_shape=setting)).image_shape == expected


@pytest.mark.parametrize("setting", ["28", "28x", "0x4", "3x4x1x1", "wide"])
def test_invalid_image_shapes(setting):
    with pytest.raises(UsageError, match="image_shape must be auto or such as 28x28"):
        SplitOptions(image_shape=setting)


def test_a_shape_that_does_not_fit_the_columns():
    with pytest.raises(UsageError, match="an image of 4x4 has 16 values and a row has 12"):
        arrange_rows(np.zeros((5, 12)), None, SplitOptions(image_shape="4x4"))


def test_rows_that_are_not_images_are_refused_before_anything_is_written(tmp_path):
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).random((20, 12)))
    config = ExperimentConfig(model="vade-conv", dataset=str(tmp_path / "rows.npy"), settings={"components": "2"})
    with pytest.raises(UsageError, match=r"this encoder is for images.*image_shape=28x28"):
        prepare_experiment(config)
    config = ExperimentConfig(decoder="conv", dataset=str(tmp_path / "rows.npy"), settings={"components": "2"})
    with pytest.raises(UsageError, match="this decoder is for images"):
        prepare_experiment(config)


def test_options_are_checked():
    with pytest.raises(UsageError, match="channels must be numbers such as 32-64"):
        ConvOptions(channels="32x64")
    with pytest.raises(UsageError, match="dense must be at least 1"):
        ConvOptions(dense=0)


@pytest.mark.parametrize("model", ["vade-conv", "mvae-emv2"])
def test_digits(train, tmp_path, model):
    """Few updates with few channels reach 0.63 and more; a guess gets 0.1."""
    settings = {"epochs": "5", "pretrain_epochs": "15", "encoder.channels": "16-32", "decoder.channels": "16-32"}
    results = train(model, init="kmeans", encoder="conv", decoder="conv", settings=settings)
    assert results["heads"]["posterior"]["test"]["acc"] >= 0.6
    config = json.loads((tmp_path / "run-0" / "config.json").read_text())
    assert config["data"]["image_shape"] == [8, 8, 1]
    assert (config["parts"]["decoder"]["distribution"], config["parts"]["decoder"]["name"]) == ("deepmix", "conv")
