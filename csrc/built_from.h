// A text in every library that tells the loader which sources the library was built from.
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
