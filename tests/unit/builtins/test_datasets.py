"""The loaders, tested on small files in the real formats that are written here."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import sys
import tarfile
import types
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from scipy import sparse
from torch import nn

from deepmix.contracts import registry
from deepmix.data import Collection
from deepmix.errors import DeepmixError, UsageError
from deepmix.experiment import ExperimentConfig, prepare_experiment

RANDOM = np.random.default_rng(0)


def idx(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">i4").tobytes()
    return gzip.compress(header + values.astype(np.uint8).tobytes())


def libsvm(rows: np.ndarray, labels: np.ndarray) -> bytes:
    lines = [
        " ".join([str(label), *(f"{i + 1}:{value:.4f}" for i, value in enumerate(row) if value)])
        for row, label in zip(rows, labels, strict=True)
    ]
    return bz2.compress("\n".join(lines).encode())


def put(plugin: str, folder: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> type:
    """Put a data set's published files into the data folder and make their digests the expected ones."""
    loaded = registry.load_plugin("datasets", plugin)
    (folder / loaded.collection.name).mkdir(parents=True)
    new_files = []
    for file in loaded.collection.files:
        (folder / loaded.collection.name / file.name).write_bytes(files[file.name])
        new_files.append(replace(file, sha256=hashlib.sha256(files[file.name]).hexdigest(), urls=("https://x/",)))
    monkeypatch.setattr(loaded, "collection", Collection(loaded.collection.name, tuple(new_files), 1))
    return loaded


def load(plugin: type, folder: Path, **options):
    """Load a data set whose files lie in the folder, without writing there."""
    return plugin(plugin.Options(download=False, **options)).load(folder)


def prepare(plugin: type, folder: Path):
    """Load a data set whose files lie in the folder, and prepare it there."""
    return plugin(plugin.Options()).load(folder)


IMAGES = RANDOM.integers(0, 256, (7, 28, 28), dtype=np.uint8)


DIGITS = np.array([3, 1, 4, 1, 5, 9, 2])


IDX_FILES = {
    "train-images-idx3-ubyte.gz": idx(IMAGES[:5]),
    "train-labels-idx1-ubyte.gz": idx(DIGITS[:5]),
    "t10k-images-idx3-ubyte.gz": idx(IMAGES[5:]),
    "t10k-labels-idx1-ubyte.gz": idx(DIGITS[5:]),
}


@pytest.mark.parametrize(("name", "archive"), [("mnist", "mnist.npz"), ("fashion-mnist", "fashion_mnist.npz")])
def test_idx_images(name, archive, tmp_path, monkeypatch):
    plugin = put(name, tmp_path, monkeypatch, IDX_FILES)
    split = prepare(plugin, tmp_path)
    np.testing.assert_allclose(split.x, IMAGES.reshape(7, -1) / 255.0, rtol=1e-6)
    assert split.labels.tolist() == DIGITS.tolist()
    assert (split.train.tolist(), split.test.tolist()) == ([0, 1, 2, 3, 4], [5, 6])
    assert split.likelihood == "bernoulli"
    with np.load(tmp_path / archive) as archive_arrays:
        np.testing.assert_array_equal(archive_arrays["x"], IMAGES)


def test_prepared_rows_of_another_width_are_not_images(tmp_path):
    np.savez(tmp_path / "mnist.npz", x=np.random.default_rng(0).random((20, 64)), y=np.arange(20) % 2)
    config = ExperimentConfig(dataset="mnist", data_dir=str(tmp_path), encoder="conv", decoder="conv")
    with pytest.raises(UsageError, match="rows are not known to be images"):
        prepare_experiment(config)


def test_a_head_that_fits_the_test_rows_needs_more_of_them_than_clusters(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).random((30, 4)), y=np.arange(30) % 6)
    with pytest.raises(UsageError, match="fits 6 clusters to the test rows, but there are only 5"):
        prepare_experiment(ExperimentConfig(dataset=str(tmp_path / "x.npz"), heads=("posterior", "gmm-refit")))


def test_prepared_archive_comes_first(tmp_path, monkeypatch):
    plugin = put("mnist", tmp_path, monkeypatch, IDX_FILES)
    first = prepare(plugin, tmp_path)
    for path in (tmp_path / "mnist").iterdir():
        path.write_bytes(b"damaged since")
    again = load(plugin, tmp_path)
    np.testing.assert_array_equal(first.x, again.x)
    assert again.labels.tolist() == DIGITS.tolist()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train-images-idx3-ubyte.gz", idx(IMAGES[:5])[:-20], "train-images-idx3-ubyte.gz' can't be read"),
        ("train-images-idx3-ubyte.gz", gzip.compress(b"\0\0\x0d\3" + bytes(12)), "not an IDX file of unsigned bytes"),
        (
            "t10k-images-idx3-ubyte.gz",
            gzip.compress(gzip.decompress(IDX_FILES["t10k-images-idx3-ubyte.gz"])[:-1]),
            "promises 2 x 28 x 28 values, but it has 1567",
        ),
        ("t10k-labels-idx1-ubyte.gz", idx(DIGITS[:4]), "4 labels for 2 images"),
    ],
    ids=["truncated", "type", "short", "labels"],
)
def test_damaged_idx_is_named_and_nothing_is_written(tmp_path, monkeypatch, name, content, words):
    plugin = put("mnist", tmp_path, monkeypatch, {**IDX_FILES, name: content})
    with pytest.raises(DeepmixError, match=words):
        load(plugin, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mnist"]


def test_usps(tmp_path, monkeypatch):
    rows = RANDOM.uniform(-1.0, 1.0, (5, 256)).round(3)
    rows[0, :3] = 0.0  # left out of the file, as LIBSVM does
    labels = np.array([7, 10, 1, 2, 5])
    files = {"usps.bz2": libsvm(rows[:3], labels[:3]), "usps.t.bz2": libsvm(rows[3:], labels[3:])}
    split = load(put("usps", tmp_path, monkeypatch, files), tmp_path)
    np.testing.assert_allclose(split.x, (rows + 1.0) / 2.0, atol=1e-6)
    assert split.labels.tolist() == [6, 9, 0, 1, 4]
    assert (split.train.tolist(), split.likelihood) == ([0, 1, 2], "bernoulli")


@pytest.mark.parametrize("content", [bz2.compress(b"1 1:0.5")[:-4], bz2.compress(b"one 1:0.5")], ids=["cut", "words"])
def test_damaged_usps_is_named(tmp_path, monkeypatch, content):
    plugin = put("usps", tmp_path, monkeypatch, {"usps.bz2": content, "usps.t.bz2": content})
    with pytest.raises(DeepmixError, match=r"usps\.bz2' can't be read"):
        load(plugin, tmp_path)


def har_zip(train: np.ndarray, test: np.ndarray, *, nested: bool, missing: str = "") -> bytes:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        for side, rows in (("train", train), ("test", test)):
            lines = "\n".join(" ".join(f"{value: .7e}" for value in row) for row in rows)
            labels = "\n".join(str(i % 6 + 1) for i in range(len(rows)))
            for name, text in ((f"X_{side}", lines), (f"y_{side}", labels)):
                if name != missing:
                    archive.writestr(f"UCI HAR Dataset/{side}/{name}.txt", text + "\n")
    if not nested:
        return inner.getvalue()
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("UCI HAR Dataset.names", "about")
        archive.writestr("UCI HAR Dataset.zip", inner.getvalue())
    return outer.getvalue()


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("name", ["har", "hhar"])
def test_har(tmp_path, monkeypatch, name, nested):
    train, test = RANDOM.uniform(-1.0, 1.0, (8, 561)), RANDOM.uniform(-1.0, 1.0, (3, 561))
    content = har_zip(train, test, nested=nested)
    plugin = put(name, tmp_path, monkeypatch, {"human+activity+recognition+using+smartphones.zip": content})
    split = load(plugin, tmp_path)
    np.testing.assert_allclose(split.x, np.concatenate([train, test]), atol=1e-6)
    assert split.labels.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 0, 1, 2]
    assert (len(split.train), len(split.test), split.likelihood) == (8, 3, "gaussian")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (har_zip(np.ones((2, 561)), np.ones((2, 561)), nested=True)[:400], "not a zip file"),
        (har_zip(np.ones((2, 561)), np.ones((2, 561)), nested=True, missing="y_test"), "y_test.txt"),
    ],
    ids=["cut", "incomplete"],
)
def test_damaged_har_is_named(tmp_path, monkeypatch, content, words):
    plugin = put("har", tmp_path, monkeypatch, {"human+activity+recognition+using+smartphones.zip": content})
    with pytest.raises(DeepmixError, match=words):
        load(plugin, tmp_path)


def rcv1_files(documents: dict[int, tuple[str, dict[int, float]]]) -> dict[str, bytes]:
    """Documents by number: their categories and the weight of each term; spread over the five files."""
    names = ["lyrl2004_vectors_train.dat.gz", *(f"lyrl2004_vectors_test_pt{part}.dat.gz" for part in range(4))]
    lines: dict[str, list[str]] = {name: [] for name in names}
    for place, (number, (_, terms)) in enumerate(documents.items()):
        row = " ".join(f"{term}:{weight}" for term, weight in sorted(terms.items()))
        lines[names[place % len(names)]].append(f"{number}  {row}")
    topics = [f"{topic} {number} 1" for number, (listed, _) in documents.items() for topic in listed.split()]
    files = {name: gzip.compress("\n".join(rows).encode() + b"\n") for name, rows in lines.items()}
    return {**files, "rcv1v2.topics.qrels.gz": gzip.compress("\n".join(topics).encode() + b"\n")}


DOCUMENTS = {
    2286: ("E11 ECAT M11", {1: 0.6, 3: 0.8}),
    2287: ("C15 CCAT", {1: 0.8, 47236: 0.6}),
    2288: ("CCAT GCAT", {1: 0.5, 9: 0.5}),  # two roots: left out
    2289: ("GCAT", {3: 0.3, 5: 0.4, 7: 0.1}),
    2290: ("M14", {1: 1.0}),  # no root: left out
    2291: ("MCAT M14", {1: 0.2, 3: 0.1}),
    2292: ("CCAT", {5: 1.0}),
}


def test_reuters_keeps_single_root_documents_and_the_most_frequent_terms(tmp_path, monkeypatch):
    plugin = put("reuters", tmp_path, monkeypatch, rcv1_files(DOCUMENTS))
    formats = sys.modules["deepmix_builtins.datasets.formats"]
    whole, labels = formats.read_rcv1(
        [tmp_path / "reuters" / file.name for file in plugin.collection.files[:-1]],
        tmp_path / "reuters" / "rcv1v2.topics.qrels.gz",
        n_terms=3,
    )
    # in the order of the files: 2286, 2292 (the fifth and sixth go back to the first file), 2287, 2289, 2291
    assert labels.tolist() == [1, 3, 0, 0, 2]
    # terms 1 and 3 are in three documents, 5 in two: the others go, and the rows are of length 1 again
    root = np.sqrt(0.05)
    expected = [[0.6, 0.8, 0.0], [0.2 / root, 0.1 / root, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.6, 0.8]]
    np.testing.assert_allclose(whole.toarray(), expected, atol=1e-6)
    split = load(plugin, tmp_path, test_fraction=0.4)
    assert sparse.issparse(split.x)
    assert split.x.shape == (5, 2000)
    np.testing.assert_allclose(np.sqrt(split.x.multiply(split.x).sum(axis=1)), 1.0, rtol=1e-6)
    assert len(split.test) == 2


def test_reuters_10k_is_a_seeded_subset(tmp_path, monkeypatch):
    put("reuters", tmp_path, monkeypatch, rcv1_files(DOCUMENTS))
    plugin = registry.load_plugin("datasets", "reuters-10k")
    monkeypatch.setattr(plugin, "n_documents", 3)
    labels = {seed: load(plugin, tmp_path, subset_seed=seed).labels.tolist() for seed in range(6)}
    assert labels[0] == load(plugin, tmp_path, subset_seed=0).labels.tolist()
    assert all(len(chosen) == 3 for chosen in labels.values())
    assert len(set(map(tuple, labels.values()))) > 1
    assert "3 of 5 documents" in load(plugin, tmp_path).preprocessing
    with pytest.raises(UsageError, match="subset_seed must be at least 0"):
        plugin.Options(subset_seed=-1)


@pytest.mark.parametrize("name", ["lyrl2004_vectors_test_pt2.dat.gz", "rcv1v2.topics.qrels.gz"])
def test_damaged_reuters_is_named(tmp_path, monkeypatch, name):
    files = rcv1_files(DOCUMENTS)
    plugin = put("reuters", tmp_path, monkeypatch, {**files, name: files[name][:-6]})
    with pytest.raises(DeepmixError, match=f"{name}' can't be read"):
        load(plugin, tmp_path)


class TinyResnet(nn.Module):
    """A stand-in for torchvision's network: a trunk that ends in a map of 3 x 3, a pooling and a classifier."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.AvgPool2d(32)
        self.scale = nn.Conv2d(3, 3, 1, groups=3, bias=False)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(3, 2)


def stl10_files(train: np.ndarray, test: np.ndarray, weights: dict[str, torch.Tensor]) -> dict[str, bytes]:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for side, images in (("test", test), ("train", train)):
            for kind, content in (
                ("X", images.transpose(0, 1, 3, 2).tobytes()),
                ("y", bytes(i % 10 + 1 for i in range(len(images)))),
            ):
                member = tarfile.TarInfo(f"stl10_binary/{side}_{kind}.bin")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    saved = safetensors.torch.save(weights)
    return {"stl10_binary.tar.gz": packed.getvalue(), "resnet50.tv_in1k.safetensors": saved}


def test_stl10_features(tmp_path, monkeypatch):
    module = types.ModuleType("torchvision")
    module.models = types.SimpleNamespace(resnet50=TinyResnet)
    monkeypatch.setitem(sys.modules, "torchvision", module)
    images = RANDOM.integers(0, 256, (5, 3, 96, 96), dtype=np.uint8)
    weights = TinyResnet().state_dict() | {"scale.weight": torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1)}
    plugin = put("stl10", tmp_path, monkeypatch, stl10_files(images[:3], images[3:], weights))
    split = load(plugin, tmp_path, scale="none")
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (images.mean(axis=(2, 3)) / 255.0 - mean) / std * [1.0, 2.0, 3.0]
    np.testing.assert_allclose(split.x, expected, rtol=1e-4, atol=1e-5)
    assert split.labels.tolist() == [0, 1, 2, 0, 1]
    assert split.train.tolist() == [0, 1, 2]
    wrong = stl10_files(images[:3], images[3:], {"fc.bias": torch.zeros(2)})
    with pytest.raises(DeepmixError, match="does not hold a ResNet-50"):
        load(put("stl10", tmp_path / "other", monkeypatch, wrong), tmp_path / "other")


def test_stl10_images_are_turned_upright(tmp_path):
    formats = sys.modules["deepmix_builtins.datasets.formats"]
    images = np.zeros((1, 3, 96, 96), dtype=np.uint8)
    images[0, 1, 2, 5] = 9  # green, third row, sixth column
    path = tmp_path / "stl10_binary.tar.gz"
    path.write_bytes(stl10_files(images, images, {"fc.bias": torch.zeros(2)})["stl10_binary.tar.gz"])
    actual = formats.read_stl10(path)
    assert np.argwhere(actual["train_X"]).tolist() == [[0, 1, 2, 5]]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DeepmixError, match="can't be read"):
        formats.read_stl10(path)


@pytest.mark.parametrize("missing", [True, False])
def test_stl10_without_torchvision_says_so_before_fetching(tmp_path, monkeypatch, missing):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    if missing:
        monkeypatch.setitem(sys.modules, "torchvision", None)
    plugin = registry.load_plugin("datasets", "stl10")
    with pytest.raises(UsageError, match=r"deepmix\[stl10\].*features file .*stl10\.npz"):
        load(plugin, tmp_path)
    features = RANDOM.normal(size=(6, 4)).astype(np.float32)
    np.savez(tmp_path / "stl10.npz", x=features, y=np.arange(6) % 2, n_train=4)
    np.testing.assert_array_equal(load(plugin, tmp_path, scale="none").x, features)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "usps", "har", "reuters", "reuters-10k"])
def test_absent_data_say_which_file_goes_where(tmp_path, name):
    plugin = registry.load_plugin("datasets", name)
    with pytest.raises(UsageError) as caught:
        load(plugin, tmp_path)
    prepared = "reuters" if name == "reuters-10k" else name.replace("-", "_")
    for words in (f"put {prepared}.npz into '{tmp_path}'", "http", "download is false"):
        assert words in str(caught.value)
    with pytest.raises(UsageError, match=r"data_dir or DEEPMIX_DATA"):
        plugin(plugin.Options()).load(None)
    with pytest.raises(UsageError, match="does not exist"):
        plugin(plugin.Options()).load(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_every_file_that_is_fetched_has_a_digest_and_comes_by_https():
    for name in ("mnist", "fashion-mnist", "usps", "har", "reuters", "stl10"):
        for file in registry.load_plugin("datasets", name).collection.files:
            assert (file.sha256 is None) == (name == "usps")
            assert file.sha256 is None or len(bytes.fromhex(file.sha256)) == 32
            assert all(url.startswith("https://") for url in file.urls)


def test_without_permission_to_download_nothing_is_written_either(tmp_path, monkeypatch):
    rows = np.linspace(-1.0, 1.0, 5 * 256).reshape(5, 256)
    labels = [1, 2, 10, 1, 2]
    files = {"usps.bz2": libsvm(rows[:3], labels[:3]), "usps.t.bz2": libsvm(rows[3:], labels[3:])}
    plugin = put("usps", tmp_path, monkeypatch, files)
    split = load(plugin, tmp_path)
    assert {path.name for path in tmp_path.rglob("*")} == {"usps", *files}
    written = prepare(plugin, tmp_path)
    assert (tmp_path / "usps.npz").is_file()
    np.testing.assert_array_equal(split.x, written.x)
