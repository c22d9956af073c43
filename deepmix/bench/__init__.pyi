from .forms import (
    component_forms as component_forms,
    kl_forms as kl_forms,
    mixture_forms as mixture_forms,
    sampled_forms as sampled_forms,
)
from .timing import machine as machine, time_kernels as time_kernels
