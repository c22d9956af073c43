"""What torch.compile may take as constant while it traces `deepmix.ops`, which imports this then and not before.

`assume_constant_result` imports torch's compiler, more than a second that no other command should wait for.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from deepmix import ops

has_kernel: Callable[[str], bool] = torch.compiler.assume_constant_result(ops.look_for_kernel)
