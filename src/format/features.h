// Feature bits and the table that names them (docs/format.md sections 4 and 5).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "byre/base/buffer.h"

namespace byre::format {

namespace incompatible {
inline constexpr std::uint64_t dirty = 1u << 0;
inline constexpr std::uint64_t corrupt = 1u << 1;
inline constexpr std::uint64_t external_data_file = 1u << 2;
inline constexpr std::uint64_t compression_type = 1u << 3;
inline constexpr std::uint64_t extended_l2 = 1u << 4;
inline constexpr std::uint64_t known = 0x1f;
}  // namespace incompatible
namespace compatible {
inline constexpr std::uint64_t lazy_refcounts = 1u << 0;
inline constexpr std::uint64_t known = 0x1;
}  // namespace compatible
namespace autoclear {
inline constexpr std::uint64_t bitmaps = 1u << 0;
inline constexpr std::uint64_t raw_external_data = 1u << 1;
inline constexpr std::uint64_t known = 0x3;
}  // namespace autoclear

enum class FeatureKind : std::uint8_t { incompatible = 0, compatible = 1, autoclear = 2 };

struct FeatureName {
  FeatureKind kind = FeatureKind::incompatible;
  unsigned bit = 0;  // 0..63
  std::string name;  // from the image: at most 46 bytes of anything, escape before printing

  friend bool operator==(const FeatureName&, const FeatureName&) = default;
};
// Advisory, and it may lie: used to word messages, never to decide anything.
using FeatureNameTable = std::vector<FeatureName>;

// Reads the extension's data. Records with an unknown kind, a bit above 63 (H-38) or no room are left out.
FeatureNameTable decode_feature_names(ConstBytes data);
// Writes 48 bytes per record. Names longer than 46 bytes are cut.
std::vector<std::byte> encode_feature_names(const FeatureNameTable& table);

// The eight records that every writer stores, in their usual order.
const FeatureNameTable& standard_feature_names();
// What a new header gets: the standard table, or none where it would crowd out the backing name (version 2, or
// clusters of at most 4096 bytes).
std::optional<FeatureNameTable> default_feature_names(unsigned version, unsigned cluster_bits);

// Lists incompatible bits for a message: "bit 5 ('name from the table'), bit 9". Names are escaped (H-6).
std::string describe_unknown_features(std::uint64_t bits, const FeatureNameTable& table);

}  // namespace byre::format
