"""What torch.compile may take as constant while it traces `deepmix.kernels.ops`, which imports this only then.

`assume_constant_result` imports torch's compiler, more than a second that no other command should wait for.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from deepmix.kernels.choice import look_for_kernel

has_kernel: Callable[[str], bool] = torch.compiler.assume_constant_result(look_for_kernel)
