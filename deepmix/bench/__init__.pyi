from .timing import time_kernels as time_kernels
