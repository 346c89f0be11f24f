// Fixed fields of the header: one or two values of a valid image are replaced.

#include <fmt/core.h>

#include "support/hostile_images.h"

namespace byre::test {
namespace {

constexpr std::uint64_t two_to(unsigned exponent) { return std::uint64_t{1} << exponent; }

class Headers {
 public:
  void add32(unsigned rule, std::string_view field, std::uint64_t at, std::initializer_list<std::uint32_t> values,
             Reaction reaction = refused, unsigned version = 3) {
    for (const std::uint32_t value : values) {
      ImageBuilder image = sample_image(version);
      image.put32(at, value);
      add(rule, fmt::format("v{} {} {}", version, field, value), reaction, std::move(image));
    }
  }
  void add64(unsigned rule, std::string_view field, std::uint64_t at, std::initializer_list<std::uint64_t> values,
             Reaction reaction = refused, unsigned version = 3) {
    for (const std::uint64_t value : values) {
      ImageBuilder image = sample_image(version);
      image.put64(at, value);
      add(rule, fmt::format("v{} {} {:x}", version, field, value), reaction, std::move(image));
    }
  }
  void add(unsigned rule, std::string name, Reaction reaction, ImageBuilder image) {
    images_.push_back({.rule = rule, .name = std::move(name), .reaction = reaction, .bytes = image.take()});
  }
  std::vector<HostileImage> take() { return std::move(images_); }

 private:
  std::vector<HostileImage> images_;
};

void add_sizes(Headers& headers) {
  for (const unsigned version : {2u, 3u}) {
    headers.add32(8, "cluster bits", 20, {0, 1, 8, 22, 31, 32, 63, 64, two_to(31), 0xffff'ffff}, refused, version);
    headers.add64(11, "virtual size", 24, {two_to(62), two_to(62) + 512, two_to(63), ~two_to(63), 0 - two_to(9)},
                  refused, version);
    headers.add64(11, "virtual size beyond the L1 table", 24, {(4 << 20) + 512, two_to(40), two_to(61)}, refused,
                  version);
    headers.add32(11, "L1 entries too few", 36, {0, 1}, refused, version);
    headers.add32(12, "L1 entries", 36, {4194305, two_to(29), two_to(31), 0xffff'ffff}, refused, version);
    headers.add32(16, "refcount table clusters", 56, {0, 2049, two_to(31), 0xffff'ffff}, refused, version);
    headers.add32(39, "snapshot count", 60, {65537, two_to(31), 0xffff'ffff}, refused, version);
  }
  headers.add32(9, "header length", 100, {0, 72, 96, 103, 105, 109, 4096 + 8, two_to(31), 0xffff'fff8, 0xffff'ffff});
  headers.add32(17, "refcount order", 96, {7, 8, 31, 32, 63, 64, 255, two_to(31), 0xffff'ffff});
}

void add_places(Headers& headers) {
  for (const unsigned version : {2u, 3u}) {
    for (const auto& [field, at] : {std::pair{"L1 table", 40}, {"refcount table", 48}, {"snapshot table", 64}}) {
      const auto offset = static_cast<std::uint64_t>(at);
      headers.add64(13, std::string(field) + " unaligned", offset, {0x3001, 0x3200, 0x3ff8}, refused, version);
      headers.add64(13, std::string(field) + " above 2^63", offset, {two_to(63), 0 - two_to(12), 0 - two_to(0)},
                    refused, version);
    }
    for (const auto& [field, at] : {std::pair{"L1 table", 40}, {"refcount table", 48}}) {
      const auto offset = static_cast<std::uint64_t>(at);
      headers.add64(14, std::string(field) + " behind the end", offset, {0x10000, two_to(40), two_to(62)}, refused,
                    version);
      headers.add64(15, std::string(field) + " upon the header", offset, {0}, refused, version);
    }
    for (const std::uint64_t at : {std::uint64_t{0}, two_to(16), two_to(62)}) {
      ImageBuilder image = sample_image(version);
      image.put32(60, 1);
      image.put64(64, at);
      headers.add(at == 0 ? 15 : 14, fmt::format("v{} one snapshot with its table at {:x}", version, at), refused,
                  std::move(image));
    }
  }
  ImageBuilder image = sample_image();
  image.put32(36, 4194304);
  headers.add(14, "longest L1 table in a short file", refused, std::move(image));
  image = sample_image();
  image.put32(56, 2048);
  headers.add(14, "longest refcount table in a short file", refused, std::move(image));
}

void add_features(Headers& headers) {
  for (unsigned bit = 5; bit < 64; ++bit) headers.add64(18, "incompatible", 72, {two_to(bit)});
  for (const unsigned type : {1u, 2u, 128u, 255u}) {
    for (const bool with_bit : {false, true}) {
      if (type == 1 && with_bit) continue;
      ImageBuilder image = sample_image();
      image.bytes()[104] = static_cast<std::byte>(type);
      if (with_bit) image.put64(72, format::incompatible::compression_type);
      headers.add(18, fmt::format("compression type {} {} its bit", type, with_bit ? "with" : "without"), refused,
                  std::move(image));
    }
  }
  headers.add64(18, "compression bit without type", 72, {format::incompatible::compression_type});
  for (const unsigned version : {2u, 3u}) {
    headers.add32(19, "encryption method", 32, {1, 2, 3, two_to(31), 0xffff'ffff}, refused, version);
  }
  for (const unsigned cluster_bits : {9u, 12u, 13u}) {
    ImageBuilder image = sample_image(3, cluster_bits);
    image.put64(72, format::incompatible::extended_l2);
    headers.add(32, fmt::format("extended L2 with cluster bits {}", cluster_bits), refused, std::move(image));
  }
  // What may not be written, but read: the corrupt bit (I-40).
  headers.add64(18, "marked corrupt", 72, {format::incompatible::corrupt}, never_written);
  headers.add64(48, "bitmaps bit without bitmaps", 88, {format::autoclear::bitmaps}, accepted);
  headers.add64(58, "unknown autoclear bits", 88, {two_to(2), two_to(63), ~two_to(0) - 2}, accepted);
  headers.add64(58, "raw bit without a data file", 88, {format::autoclear::raw_external_data}, accepted);
  // Repaired when it is opened for writing; how long the tables claim to be costs nothing.
  headers.add64(55, "dirty", 72, {format::incompatible::dirty}, accepted);
  ImageBuilder long_table = sample_image();
  long_table.put64(72, format::incompatible::dirty);
  long_table.put32(36, 4194304);
  headers.add(55, "dirty with the longest L1 table", refused, std::move(long_table));
  headers.add64(18, "unknown compatible bits", 80, {~std::uint64_t{1}}, accepted);
}

}  // namespace

std::vector<HostileImage> hostile_headers() {
  Headers headers;
  add_sizes(headers);
  add_places(headers);
  add_features(headers);
  return headers.take();
}

}  // namespace byre::test
