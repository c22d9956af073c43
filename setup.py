"""Build the kernels ahead of time if torch is installed; everything else is in pyproject.toml.

An isolated build has no torch: then nothing is built here, and the kernels are compiled on first use. DEEPMIX_BUILD
(auto, none, cpu or cuda) chooses between CPU and CUDA; auto takes CUDA if torch supports it and nvcc is there.
`deepmix/kernels/build.py` lists the sources.
"""

import contextlib
import importlib.util
import os
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

from setuptools import find_packages, setup

SOURCES = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "deepmix" / "kernels" / "build.py")))
CHOICES = ("auto", "none", "cpu", "cuda")


def extensions(choice: str) -> dict:
    """Return setup's arguments for the compiled parts."""
    if choice not in CHOICES:
        raise SystemExit(f"unknown DEEPMIX_BUILD '{choice}'; choose one of: {', '.join(sorted(CHOICES))}")
    if choice == "none":
        return {}
    if importlib.util.find_spec("torch") is None:
        if choice == "auto":
            return {}
        raise SystemExit(
            f"DEEPMIX_BUILD={choice} can't be met: torch is not installed here; use pip install --no-build-isolation"
        )
    import torch
    from torch.utils import cpp_extension

    has_cuda = torch.version.cuda is not None and cpp_extension.CUDA_HOME is not None
    if choice == "cuda" and not has_cuda:
        raise SystemExit("DEEPMIX_BUILD=cuda can't be met: it needs a CUDA build of torch, and nvcc on the PATH")
    compiler = None
    with contextlib.suppress(ValueError, IndexError):  # what CXX holds is not a command
        compiler = shutil.which(SOURCES.compiler_words()[0])
    if compiler is None:
        if choice == "auto":
            return {}
        raise SystemExit(f"DEEPMIX_BUILD={choice} can't be met: no C++ compiler was found; install one, or set CXX")
    with_cuda = has_cuda and choice != "cpu"
    root = Path(__file__).parent.resolve()

    def relative(files: list[Path]) -> list[str]:
        return [str(path.resolve().relative_to(root)) for path in files]

    make = cpp_extension.CUDAExtension if with_cuda else cpp_extension.CppExtension
    library = make(
        "deepmix._ops",
        relative(SOURCES.operator_sources(with_cuda)),
        extra_compile_args={"cxx": SOURCES.cpp_flags(with_cuda=with_cuda), "nvcc": SOURCES.cuda_flags()},
    )
    return {"ext_modules": [library], "cmdclass": {"build_ext": cpp_extension.BuildExtension}}


PACKAGES = [
    *find_packages(include=["deepmix", "deepmix.*"]),
    *find_packages("plugins", include=["deepmix_builtins", "deepmix_builtins.*"]),
    "deepmix.csrc",
    "deepmix.csrc.cpu",
    "deepmix.csrc.cuda",
]

compiled = extensions(os.environ.get("DEEPMIX_BUILD", "auto"))
with SOURCES.compiler_as_one_program() if compiled else contextlib.nullcontext():
    setup(packages=PACKAGES, **compiled)
