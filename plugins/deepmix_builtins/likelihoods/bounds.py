"""Bounds that keep densities finite."""

from __future__ import annotations

import math

MIN_VARIANCE = 1e-4
"""Floor of an observation variance: a perfect reconstruction would make the density unbounded."""


MIN_LOG_VAR, MAX_LOG_VAR = math.log(MIN_VARIANCE), 8.0
"""Bounds of a learned log-variance, for the same reason."""


MIN_LOG_RATE, MAX_LOG_RATE = -20.0, 21.0
"""Bounds of the logarithm of an expected count: exp(21) is 1.3e9, and CUDA draws Poisson counts as 32-bit integers."""


MAX_EXPONENT = 80.0
"""Bound of an exponent: exp(88.8) overflows in float32."""
