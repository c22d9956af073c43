"""Fuzzed published files: IDX, LIBSVM, RCV1, UCI's zip and STL-10's tar, damaged before or after compression."""

from __future__ import annotations

import bz2
import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from deepmix_builtins.datasets.formats import read_har, read_idx, read_libsvm, read_rcv1, read_stl10

from tests.fuzz.arrays import zip_bytes
from tests.fuzz.damage import damage
from tests.fuzz.target import Target, from_pool


def _around(
    compress: Callable[[bytes], bytes], content: bytes, random: Random, tokens: tuple[bytes, ...] = ()
) -> bytes:
    """Return content damaged before it is compressed, or after, or not at all."""
    match random.randrange(8):
        case 0:
            return compress(content)
        case 1 | 2:
            return damage(compress(content), random)
        case _:
            return compress(damage(content, random, tokens))


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, 1)


def _idx(random: Random) -> bytes:
    sizes = random.choice(((4,), (3, 2, 2), (0,), ()))
    header = bytes([0, 0, 8, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes)
    return _around(_gzip, header + bytes(int(np.prod(sizes))), random)


LIBSVM_TOKENS = (
    b":",
    b" ",
    b"\n",
    b"#",
    b"qid:1",
    b"1:1",
    b"-1:2",
    b"0:1",
    b"99999999999:1",
    b"9" * 30,
    b"nan",
    b"inf",
    b"1e999",
    b",",
    b"\x00",
    b"\xff",
)


def _libsvm(random: Random) -> bytes:
    lines = [f"{random.choice((1, 2, 10))} 1:{random.choice((-1, 0.5))} 3:1" for _ in range(random.choice((0, 1, 6)))]
    return _around(lambda content: bz2.compress(content, 1), "\n".join(lines).encode(), random, LIBSVM_TOKENS)


def _rcv1(random: Random) -> bytes:
    lines = [f"{2286 + i} 1:0.5 47236:1" for i in range(4)]
    return _around(_gzip, "\n".join(lines).encode(), random, LIBSVM_TOKENS)


def _topics(random: Random) -> bytes:
    lines = [f"{random.choice(('CCAT', 'GCAT', 'E11'))} {2286 + i} 1" for i in range(4)]
    return _around(
        _gzip, "\n".join(lines).encode(), random, (b" ", b"\n", b"CCAT", b"9" * 30, b"-1", b"\xff", b"\xc2\xb2")
    )


def _har(random: Random) -> bytes:
    members = [
        (f"UCI HAR Dataset/{side}/{kind}_{side}.txt", (b"1 0.5\n2 0.25\n" if kind == "X" else b"1\n2\n"))
        for side in ("train", "test")
        for kind in ("X", "y")
    ]
    i = random.randrange(len(members))
    name, content = members[i]
    changed = damage(content, random, (b" ", b"\n", b"nan", b"1e999", b"9" * 30, b"#", b"\xff", b"x"))
    members[i] = (random.choice((name, name, name, "../x.txt", name.lower())), changed)
    inner = zip_bytes(members, random.choice((0, 8)))
    match random.randrange(4):
        case 0:
            return damage(inner, random, (b"PK\x01\x02", b"PK\x05\x06", b"train", b".zip"))
        case 1:
            return zip_bytes([("UCI HAR Dataset.zip", inner)])
        case 2:
            return zip_bytes([("UCI HAR Dataset.zip", damage(inner, random))])
        case _:
            return inner


@from_pool
def _whole_tar(random: Random) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for stem in ("train_X", "train_y", "test_X", "test_y"):
            member = tarfile.TarInfo(random.choice((f"stl10_binary/{stem}.bin", f"../{stem}.bin")))
            member.size = 3 * 96 * 96 if stem.endswith("_X") else 1
            if random.randrange(8) == 0:
                member.type, member.linkname = (
                    random.choice((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE)),
                    "/etc/passwd",
                )
                member.size = 0
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return buffer.getvalue()


def _tar(random: Random) -> bytes:
    content = _whole_tar(random)
    if random.randrange(2):  # the headers are where a tar is read, and most of its bytes are pixels
        start = random.choice([i for i in range(0, len(content), 512) if content[i + 257 : i + 262] == b"ustar"])
        content = (
            content[:start]
            + damage(content[start : start + 512], random, (b"train_X", b"0000000", b"77777777777", b"\x80"))
            + content[start + 512 :]
        )
    return _around(_gzip, content, random) if random.randrange(3) == 0 else _gzip(content)


def _read_topics(path: Path, random: Random) -> None:
    vectors = path.with_name("vectors.dat.gz")
    if not vectors.exists():
        vectors.write_bytes(_gzip(b"2286 1:0.5 7:1\n2287 2:1\n2288 2:1\n"))
    read_rcv1([vectors], path, 2)


def _read_vectors(path: Path, random: Random) -> None:
    topics = path.with_name("topics.gz")
    if not topics.exists():
        topics.write_bytes(_gzip(b"CCAT 2286 1\nGCAT 2287 1\nCCAT 2288 1\n"))
    read_rcv1([path], topics, 2)


TARGETS = (
    Target("idx", _idx, lambda path, random: _discard(read_idx(path)), "images.gz", 160),
    Target("libsvm", _libsvm, lambda path, random: _discard(read_libsvm(path, 4)), "rows.bz2", 60),
    Target("rcv1-vectors", _rcv1, _read_vectors, "rows.dat.gz", 12),
    Target("rcv1-topics", _topics, _read_topics, "rows.qrels.gz", 12),
    Target("har", _har, lambda path, random: _discard(read_har(path)), "har.zip", 50),
    Target("stl10", _tar, lambda path, random: _discard(read_stl10(path)), "stl10.tar.gz", 20),
)


def _discard(result: object) -> None:
    """Take a reader's result and forget it."""
