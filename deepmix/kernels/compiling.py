"""The question that torch.compile answers once, as a constant, while it traces `deepmix.kernels.ops`.

`ops` imports this module only while it is traced: `assume_constant_result` imports torch's compiler, which takes more
than a second.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from deepmix.kernels.choice import look_for_kernel

has_kernel: Callable[[str], bool] = torch.compiler.assume_constant_result(look_for_kernel)
