from . import autograd as autograd, build as build, loader as loader, ops as ops
from .choice import kernel_devices as kernel_devices, reference_only as reference_only
