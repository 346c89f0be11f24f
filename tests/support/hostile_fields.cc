// The systematic part: a table of fields (where, how wide) of an image that has one of everything, crossed with values
// at the edges of what integers, sectors and clusters can be.

#include <fmt/core.h>

#include <array>

#include "byre/base/assert.h"
#include "format/bitmap_directory.h"
#include "support/hostile_images.h"
#include "support/snapshot_image.h"

namespace byre::test {
namespace {

struct Field {
  std::string_view name;
  std::uint64_t at;
  unsigned width_bytes;
};

// A snapshot, a bitmap, a backing format, an unknown extension: each with fields of its own.
struct Rich {
  ImageBuilder image;
  std::vector<Field> fields;
};

void add_header_fields(std::vector<Field>& fields, unsigned version) {
  const Field common[] = {
      {"version", 4, 4},         {"backing offset", 8, 8},     {"backing size", 16, 4},   {"cluster bits", 20, 4},
      {"virtual size", 24, 8},   {"encryption", 32, 4},        {"L1 entries", 36, 4},     {"L1 table", 40, 8},
      {"refcount table", 48, 8}, {"refcount clusters", 56, 4}, {"snapshot count", 60, 4}, {"snapshot table", 64, 8}};
  fields.assign(std::begin(common), std::end(common));
  if (version < 3) return;
  for (const Field& field :
       {Field{"incompatible", 72, 8}, Field{"compatible", 80, 8}, Field{"autoclear", 88, 8},
        Field{"refcount order", 96, 4}, Field{"header length", 100, 4}, Field{"compression type", 104, 4}}) {
    fields.push_back(field);
  }
}

void add_bitmap(Rich& rich) {
  ImageBuilder& image = rich.image;
  format::BitmapEntry entry;
  entry.table = HostOffset(image.add_clusters(1));
  entry.table_entries = 1;
  entry.granularity_bits = 16;
  entry.name = "bitmap";
  const auto directory = format::encode_bitmap_directory({entry}, image.geometry());
  const std::uint64_t at = image.add_content(*directory);
  const format::BitmapsExtension extension{1, 0, directory->size(), HostOffset(at)};
  image.add_extension(0x23852875, format::encode_bitmaps_extension(extension));
  image.put64(88, format::autoclear::bitmaps);
  for (const Field& field :
       {Field{"bitmap extension length", 116, 4}, Field{"bitmap count", 120, 4}, Field{"bitmap reserved", 124, 4},
        Field{"bitmap directory bytes", 128, 8}, Field{"bitmap directory", 136, 8}, Field{"next extension", 144, 4},
        Field{"next extension length", 148, 4}, Field{"bitmap table", at, 8}, Field{"bitmap table entries", at + 8, 4},
        Field{"bitmap flags", at + 12, 4}, Field{"bitmap numbers", at + 16, 4}, Field{"bitmap extra data", at + 20, 4},
        Field{"bitmap table entry", entry.table.bytes, 8}}) {
    rich.fields.push_back(field);
  }
}

void add_snapshot_fields(Rich& rich) {
  const bool done = add_snapshot(rich.image.bytes(), "1");
  BYRE_ASSERT(done);
  const std::uint64_t at = rich.image.load64(64);
  for (const Field& field :
       {Field{"snapshot L1 table", at, 8}, Field{"snapshot L1 entries", at + 8, 4}, Field{"snapshot names", at + 12, 4},
        Field{"snapshot VM state", at + 32, 4}, Field{"snapshot extra data", at + 36, 4},
        Field{"snapshot VM state bytes", at + 40, 8}, Field{"snapshot disk size", at + 48, 8},
        Field{"snapshot L1 entry", rich.image.load64(at), 8}}) {
    rich.fields.push_back(field);
  }
}

Rich rich_image(unsigned version) {
  Rich rich{sample_image(version), {}};
  add_header_fields(rich.fields, version);
  if (version >= 3) add_bitmap(rich);
  add_snapshot_fields(rich);
  const ImageBuilder& image = rich.image;
  for (const Field& field :
       {Field{"L1 entry 0", image.l1_table(), 8}, Field{"L1 entry 1", image.l1_table() + 8, 8},
        Field{"L2 entry 0", image.l2_table(), 8}, Field{"L2 entry 2", image.l2_table() + 16, 8},
        Field{"L2 entry 3", image.l2_table() + 24, 8}, Field{"L2 entry 9", image.l2_table() + 72, 8},
        Field{"refcount table entry 0", image.refcount_table(), 8},
        Field{"refcount table entry 1", image.refcount_table() + 8, 8},
        Field{"refcounts 0 to 3", image.refcount_block(), 8},
        Field{"refcounts 4 to 7", image.refcount_block() + 8, 8}}) {
    rich.fields.push_back(field);
  }
  return rich;
}

std::vector<std::uint64_t> nasty_values(const Field& field, std::uint64_t cluster_size) {
  const auto two_to = [](unsigned exponent) { return std::uint64_t{1} << exponent; };
  std::vector<std::uint64_t> values = {0,
                                       1,
                                       2,
                                       255,
                                       511,
                                       513,
                                       cluster_size - 1,
                                       cluster_size,
                                       cluster_size + 1,
                                       3 * cluster_size,
                                       two_to(31),
                                       two_to(32) - 1};
  if (field.width_bytes == 4) return values;
  for (const std::uint64_t value :
       {two_to(55), two_to(56), two_to(61), two_to(62), two_to(62) | cluster_size, two_to(63) - 1, two_to(63),
        two_to(63) | cluster_size, two_to(63) | 1, ~std::uint64_t{0} - cluster_size + 1, ~std::uint64_t{0}}) {
    values.push_back(value);
  }
  return values;
}

}  // namespace

std::vector<HostileImage> hostile_fields() {
  std::vector<HostileImage> images;
  for (const unsigned version : {2u, 3u}) {
    const Rich rich = rich_image(version);
    for (const Field& field : rich.fields) {
      for (const std::uint64_t value : nasty_values(field, rich.image.cluster_size())) {
        ImageBuilder image = rich.image;
        if (field.width_bytes == 4) {
          image.put32(field.at, static_cast<std::uint32_t>(value));
        } else {
          image.put64(field.at, value);
        }
        images.push_back({.rule = 1,
                          .name = fmt::format("v{} {} is {:x}", version, field.name, value),
                          .reaction = accepted,
                          .bytes = image.take()});
      }
    }
  }
  return images;
}

}  // namespace byre::test
