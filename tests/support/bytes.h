// Comparing and hashing content. The simulator does little else: the standard's own, byte by byte, took half its time.
#pragma once

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstdint>
#include <cstring>

#include "byre/base/buffer.h"

namespace byre::test {

inline bool same_bytes(ConstBytes a, ConstBytes b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

inline std::uint64_t hash_bytes(ConstBytes bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

}  // namespace byre::test
