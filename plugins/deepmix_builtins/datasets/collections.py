"""Where the data sets are published, and the digests that identify their files.

The digests are SHA-256. Those of MNIST, Fashion-MNIST and STL-10 come from TensorFlow Datasets, those of RCV1 from
scikit-learn, those of HAR and ResNet-50 from independent projects (UCI publishes none). For USPS only MD5 digests are
published, so its files are read where a user has put them, and not fetched. MNIST's own host no longer serves it; the
two mirrors here have identical files.
"""

from __future__ import annotations

from deepmix.data import Collection, RemoteFile

IDX_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


USPS_IMAGE = (16, 16)


HAR_ARCHIVE = "human+activity+recognition+using+smartphones.zip"


RCV1_VECTORS = ("lyrl2004_vectors_train.dat.gz", *(f"lyrl2004_vectors_test_pt{part}.dat.gz" for part in range(4)))


RCV1_TOPICS = "rcv1v2.topics.qrels.gz"


STL10_ARCHIVE = "stl10_binary.tar.gz"


RESNET50 = "resnet50.tv_in1k.safetensors"


def _idx(name: str, bases: tuple[str, ...], digests: tuple[str, ...], n_bytes: int) -> Collection:
    files = (
        RemoteFile(file, digest, tuple(f"{base}/{file}" for base in bases))
        for file, digest in zip(IDX_NAMES, digests, strict=True)
    )
    return Collection(name, tuple(files), n_bytes)


MNIST = _idx(
    "mnist",
    ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"),
    (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    9_912_422 + 28_881 + 1_648_877 + 4_542,
)


FASHION_MNIST = _idx(
    "fashion-mnist",
    ("https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",),
    (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    26_421_880 + 29_515 + 4_422_102 + 5_148,
)


_LIBSVM = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass"


USPS = Collection(
    "usps",
    (
        RemoteFile("usps.bz2", None, (f"{_LIBSVM}/usps.bz2",)),
        RemoteFile("usps.t.bz2", None, (f"{_LIBSVM}/usps.t.bz2",)),
    ),
    8_400_000,  # approximate; the host states no size
)


HAR = Collection(
    "har",
    (
        RemoteFile(
            HAR_ARCHIVE,
            "c00b803081a5c797cd5e4b83700a9810b38d53d9d84e01917e090e1fdbc81031",
            (f"https://archive.ics.uci.edu/static/public/240/{HAR_ARCHIVE}",),
        ),
    ),
    61_005_872,
)


def _rcv1(name: str, number: int, digest: str) -> RemoteFile:
    return RemoteFile(name, digest, (f"https://ndownloader.figshare.com/files/{number}",))


RCV1 = Collection(
    "reuters",
    (
        _rcv1(RCV1_VECTORS[0], 5976057, "5468f656d0ba7a83afc7ad44841cf9a53048a5c083eedc005dcdb5cc768924ae"),
        _rcv1(RCV1_VECTORS[1], 5976069, "ed40f7e418d10484091b059703eeb95ae3199fe042891dcec4be6696b9968374"),
        _rcv1(RCV1_VECTORS[2], 5976066, "87700668ae45d45d5ca1ef6ae9bd81ab0f5ec88cc95dcef9ae7838f727a13aa6"),
        _rcv1(RCV1_VECTORS[3], 5976063, "48143ac703cbe33299f7ae9f4995db49a258690f60e5debbff8995c34841c7f5"),
        _rcv1(RCV1_VECTORS[4], 5976060, "dfcb0d658311481523c6e6ca0c3f5a3e1d3d12cde5d7a8ce629a9006ec7dbb39"),
        _rcv1(RCV1_TOPICS, 5976048, "2a98e5e5d8b770bded93afc8930d88299474317fe14181aee1466cc754d0d1c1"),
    ),
    656_000_000,  # approximate, from scikit-learn
)


STL10 = Collection(
    "stl10",
    (
        RemoteFile(
            STL10_ARCHIVE,
            "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866",
            (
                f"https://ai.stanford.edu/~acoates/stl10/{STL10_ARCHIVE}",
                f"https://cs.stanford.edu/~acoates/stl10/{STL10_ARCHIVE}",
            ),
        ),
        RemoteFile(
            RESNET50,
            "5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888",
            (
                "https://huggingface.co/timm/resnet50.tv_in1k/resolve/"
                "78f3ecfdb38e06d9b8397f662e7ab8fee96026fa/model.safetensors",
            ),
        ),
    ),
    2_640_397_119 + 102_469_840,
)
"""The weights are torchvision's IMAGENET1K_V1 as timm publishes them, in a format other than pickle."""
