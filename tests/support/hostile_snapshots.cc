// Snapshot tables. Reading the disk does not need them; writing protects what they name, and so looks at them.

#include <fmt/core.h>

#include "byre/base/assert.h"
#include "support/hostile_images.h"
#include "support/snapshot_image.h"

namespace byre::test {
namespace {

ImageBuilder with_snapshot() {
  ImageBuilder image = sample_image();
  const bool done = add_snapshot(image.bytes(), "1");
  BYRE_ASSERT(done);
  return image;
}

class Snapshots {
 public:
  HostileImage& add(unsigned rule, std::string name, Reaction reaction, ImageBuilder image) {
    images_.push_back({.rule = rule, .name = std::move(name), .reaction = reaction, .bytes = image.take()});
    return images_.back();
  }
  std::vector<HostileImage> take() { return std::move(images_); }

 private:
  std::vector<HostileImage> images_;
};

void add_tables(Snapshots& images) {
  const auto add = [&](std::string name, std::uint64_t at, unsigned width_bytes, std::uint32_t value) {
    ImageBuilder image = with_snapshot();
    const std::uint64_t entry = image.load64(64);
    if (width_bytes == 4) {
      image.put32(entry + at, value);
    } else {
      store_be16(image.bytes().data() + entry + at, static_cast<std::uint16_t>(value));
    }
    HostileImage& added = images.add(40, std::move(name), never_written, std::move(image));
    added.info_refused = true;
    added.snapshot_refused = true;
  };
  for (const std::uint32_t size : {1025u, 0x7fff'ffffu, 0xffff'fff8u, 0xffff'ffffu}) {
    add(fmt::format("{:x} bytes of extra data", size), 36, 4, size);
  }
  add("id of 65535 bytes", 12, 2, 65535);
  add("name of 65535 bytes", 14, 2, 65535);
  ImageBuilder image = with_snapshot();
  image.put32(60, 102);  // more entries than the file has room for
  HostileImage& added = images.add(40, "entries run past the file", never_written, std::move(image));
  added.info_refused = true;
  added.snapshot_refused = true;
  image = with_snapshot();
  const std::uint64_t entry = image.load64(64);
  image.put_bytes(entry + 64, bytes_from("\x1b[2J\x07\xff\r\x7f\xc2\x9b"));
  images.add(40, "control bytes in id and name", accepted, std::move(image)).snapshot_refused = true;  // no id "1"
}

void add_l1_tables(Snapshots& images) {
  struct Case {
    std::string_view name;
    std::uint64_t l1_table;
    std::uint32_t l1_entries;
    Reaction reaction;
  };
  const ImageBuilder sample = with_snapshot();
  const std::uint64_t own = sample.load64(sample.load64(64));
  for (const Case& one :
       {Case{"unaligned", own + 8, 2, accepted}, Case{"far behind the end", std::uint64_t{1} << 40, 2, accepted},
        Case{"at 2^63", std::uint64_t{1} << 63, 2, accepted},
        Case{"at the last cluster", 0 - std::uint64_t{4096}, 2, accepted},
        Case{"too short for its disk", own, 1, accepted}, Case{"of 2^32-1 entries", own, 0xffff'ffff, never_written},
        Case{"above 32 MiB", std::uint64_t{1} << 40, 4194305, accepted}, Case{"in the header", 0, 2, never_written},
        Case{"is the active one", sample.l1_table(), 2, never_written},
        Case{"in the refcount block", sample.refcount_block(), 2, never_written},
        Case{"in an L2 table", sample.l2_table(), 2, never_written}}) {
    ImageBuilder image = with_snapshot();
    image.put64(image.load64(64), one.l1_table);
    image.put32(image.load64(64) + 8, one.l1_entries);
    HostileImage& added = images.add(41, fmt::format("snapshot L1 table {}", one.name), one.reaction, std::move(image));
    // What lies upon other metadata is only known as a table of another kind.
    added.snapshot_refused = one.l1_table != sample.refcount_block() && one.l1_table != sample.l2_table();
  }
}

void add_sizes(Snapshots& images) {
  for (const std::uint64_t size : {std::uint64_t{513}, std::uint64_t{1} << 62, std::uint64_t{1} << 63,
                                   ~std::uint64_t{0}, 0 - std::uint64_t{512}}) {
    ImageBuilder image = with_snapshot();
    image.put64(image.load64(64) + 48, size);
    images.add(42, fmt::format("snapshot disk size {:x}", size), accepted, std::move(image)).snapshot_refused = true;
  }
}

void add_shared(Snapshots& images) {
  ImageBuilder image = with_snapshot();
  const std::uint64_t entry = image.load64(64);
  const std::vector<std::byte> first(image.bytes().begin() + static_cast<std::ptrdiff_t>(entry),
                                     image.bytes().begin() + static_cast<std::ptrdiff_t>(entry + 80));
  image.put_bytes(entry + 80, first);
  image.put32(60, 2);
  images.add(43, "two snapshots with one L1 table", never_written, std::move(image));

  // 60,000 entries, each with an L1 table somewhere: what is protected must stay quick to look up (H-4).
  ImageBuilder many = sample_image(3, 16);
  std::vector<std::byte> table(60'000 * 40);
  for (std::size_t i = 0; i < 60'000; ++i) {
    store_be64(table.data() + i * 40, (std::uint64_t{1} << 40) + i * many.cluster_size());
    store_be32(table.data() + i * 40 + 8, 1);
  }
  const std::uint64_t at = many.add_content(table);
  many.put32(60, 60'000);
  many.put64(64, at);
  images.add(39, "60000 snapshots", accepted, std::move(many)).snapshot_refused = true;
}

}  // namespace

std::vector<HostileImage> hostile_snapshots() {
  Snapshots images;
  add_tables(images);
  add_l1_tables(images);
  add_sizes(images);
  add_shared(images);
  return images.take();
}

}  // namespace byre::test
