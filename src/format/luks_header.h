// The LUKS1 header at the start of the encryption area (docs/format.md section 13, H-53, H-54). Decoding only tells
// what is there; whether this build can unlock it is another question.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "byre/base/buffer.h"
#include "byre/base/result.h"

namespace byre::format {

inline constexpr std::size_t luks_header_bytes = 592;
inline constexpr std::uint32_t luks_stripes = 4000;

struct LuksSlot {
  bool active = false;
  std::uint32_t iterations = 0;
  std::uint64_t key_offset_bytes = 0;  // from the start of the area
  std::uint32_t stripes = 0;
};

struct LuksHeader {
  std::string cipher;  // "aes"
  std::string mode;    // "xts"
  std::string iv_generator;
  std::string iv_generator_hash;  // empty unless named
  std::string hash;
  std::uint64_t payload_offset_bytes = 0;
  std::uint32_t key_bytes = 0;
  std::uint32_t iterations = 0;
  std::string uuid;
  std::array<LuksSlot, 8> slots;
};

// `area_start` holds luks_header_bytes. Refused: another magic or version, text fields without an end, a mode that is
// not "<mode>-<generator>[:<hash>]", no key bytes, no iterations, an unknown slot state, or stripes other than 4000.
Result<LuksHeader> decode_luks_header(ConstBytes area_start);

}  // namespace byre::format
