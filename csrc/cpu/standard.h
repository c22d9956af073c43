// The standard headers that level.h needs. Include this file before the compiler's target changes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <utility>

#include "kernels.h"
