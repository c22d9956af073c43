from .forms import (
    component_forms as component_forms,
    kl_forms as kl_forms,
    mixture_forms as mixture_forms,
    sampled_forms as sampled_forms,
)
from .timing import (
    gradients_of as gradients_of,
    machine as machine,
    time_in_turn as time_in_turn,
    time_kernels as time_kernels,
    training_row as training_row,
)
