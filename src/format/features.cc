// Names of feature bits travel in 48-byte records: kind, bit number, 46 bytes of zero-padded name.
#include "format/features.h"

#include <algorithm>
#include <cstring>

#include "base/text.h"

namespace byre::format {
namespace {

constexpr std::size_t record_bytes = 48;
constexpr std::size_t max_name_bytes = record_bytes - 2;

std::string_view find_name(std::uint64_t bit, const FeatureNameTable& table) {
  const auto found = std::find_if(table.begin(), table.end(), [&](const FeatureName& feature) {
    return feature.kind == FeatureKind::incompatible && feature.bit == bit;
  });
  return found == table.end() ? std::string_view() : std::string_view(found->name);
}

}  // namespace

FeatureNameTable decode_feature_names(ConstBytes data) {
  FeatureNameTable table;
  for (; data.size() >= record_bytes; data = data.subspan(record_bytes)) {
    const auto kind = static_cast<unsigned>(data[0]);
    const auto bit = static_cast<unsigned>(data[1]);
    if (kind > static_cast<unsigned>(FeatureKind::autoclear) || bit > 63) continue;
    const auto* name = reinterpret_cast<const char*>(data.data() + 2);
    table.push_back({static_cast<FeatureKind>(kind), bit, std::string(name, ::strnlen(name, max_name_bytes))});
  }
  return table;
}

std::vector<std::byte> encode_feature_names(const FeatureNameTable& table) {
  std::vector<std::byte> data(table.size() * record_bytes);
  std::byte* record = data.data();
  for (const FeatureName& feature : table) {
    record[0] = static_cast<std::byte>(feature.kind);
    record[1] = static_cast<std::byte>(feature.bit);
    std::memcpy(record + 2, feature.name.data(), std::min(feature.name.size(), max_name_bytes));
    record += record_bytes;
  }
  return data;
}

const FeatureNameTable& standard_feature_names() {
  static const FeatureNameTable table = {
      {FeatureKind::incompatible, 0, "dirty bit"},
      {FeatureKind::incompatible, 1, "corrupt bit"},
      {FeatureKind::incompatible, 2, "external data file"},
      {FeatureKind::incompatible, 3, "compression type"},
      {FeatureKind::incompatible, 4, "extended L2 entries"},
      {FeatureKind::compatible, 0, "lazy refcounts"},
      {FeatureKind::autoclear, 0, "bitmaps"},
      {FeatureKind::autoclear, 1, "raw external data"},
  };
  return table;
}

std::optional<FeatureNameTable> default_feature_names(unsigned version, unsigned cluster_bits) {
  constexpr unsigned bits_of_4096 = 12;
  if (version < 3 || cluster_bits <= bits_of_4096) return std::nullopt;
  return standard_feature_names();
}

std::string describe_unknown_features(std::uint64_t bits, const FeatureNameTable& table) {
  std::string text;
  for (unsigned bit = 0; bit < 64; ++bit) {
    if (((bits >> bit) & 1) == 0) continue;
    if (!text.empty()) text += ", ";
    text += fmt::format("bit {}", bit);
    const std::string_view name = find_name(bit, table);
    if (!name.empty()) text += fmt::format(" ('{}')", escape_untrusted(name));
  }
  return text;
}

}  // namespace byre::format
