// The text by which the loader knows what a library was built from (deepmix/sources.py).
#pragma once

#define DEEPMIX_TEXT_OF(token) #token
#define DEEPMIX_TEXT(token) DEEPMIX_TEXT_OF(token)

#ifndef DEEPMIX_SOURCE_HASH
#define DEEPMIX_SOURCE_HASH unknown
#endif
#ifndef DEEPMIX_DEVICE
#define DEEPMIX_DEVICE cpu
#endif

namespace deepmix {

[[gnu::used]] inline const char BUILT_FROM[] =
    "deepmix sources " DEEPMIX_TEXT(DEEPMIX_SOURCE_HASH) " for " DEEPMIX_TEXT(DEEPMIX_DEVICE);

}  // namespace deepmix
