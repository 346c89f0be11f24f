// L1, L2 and refcount structures that lie: each image is the valid sample with one entry or count replaced.

#include <fmt/core.h>

#include <tuple>

#include "base/math.h"
#include "support/hostile_images.h"
#include "support/snapshot_image.h"

namespace byre::test {
namespace {

constexpr std::uint64_t copied = format::entry_copied_flag;
constexpr std::uint64_t compressed = format::entry_compressed_flag;
constexpr std::uint64_t zero = format::entry_zero_flag;
constexpr std::uint64_t unused_cluster = 20;  // a guest cluster that the sample leaves unallocated

class Tables {
 public:
  HostileImage& add(unsigned rule, std::string name, Reaction reaction, ImageBuilder image,
                    std::uint64_t guest_offset = 0) {
    images_.push_back({.rule = rule,
                       .name = std::move(name),
                       .reaction = reaction,
                       .bytes = image.take(),
                       .guest_offset = guest_offset});
    return images_.back();
  }
  // The sample with this entry for guest cluster 0.
  void add_entry(unsigned rule, std::string name, Reaction reaction, std::uint64_t raw, unsigned version = 3) {
    ImageBuilder image = sample_image(version);
    image.set_l2(0, raw);
    add(rule, fmt::format("v{} {}", version, name), reaction, std::move(image));
  }
  // The sample with this L1 entry 1.
  void add_l1(unsigned rule, std::string name, Reaction reaction, std::uint64_t raw, unsigned version = 3) {
    ImageBuilder image = sample_image(version);
    image.set_l1(1, raw);
    const std::uint64_t guest = image.geometry().guest_bytes_per_l2();
    add(rule, fmt::format("v{} {}", version, name), reaction, std::move(image), guest);
  }
  HostileImage& last() { return images_.back(); }
  std::vector<HostileImage> take() { return std::move(images_); }

 private:
  std::vector<HostileImage> images_;
};

void add_pointers(Tables& tables) {
  const std::uint64_t end = sample_image().bytes().size();
  for (const unsigned version : {2u, 3u}) {
    for (const std::uint64_t at :
         {round_up(end, 4096), std::uint64_t{1} << 30, format::entry_offset_mask & ~std::uint64_t{0xfff}}) {
      tables.add_l1(20, fmt::format("L2 table at {:x} behind the end", at), fails, at | copied, version);
      tables.add_entry(20, fmt::format("data at {:x} behind the end", at), fails, at | copied, version);
      tables.add_entry(20, fmt::format("shared data at {:x} behind the end", at), fails, at, version);
    }
    tables.add_l1(57, "L2 table at 1 TiB", fails, std::uint64_t{1} << 40 | copied, version);
    tables.add_l1(21, "L2 table unaligned", damaged, 0x4200 | copied, version);
    tables.add_entry(22, "data unaligned", damaged, 0x5200 | copied, version);
    for (const unsigned bit : {1u, 8u, 56u, 61u}) {
      tables.add_entry(22, fmt::format("reserved bit {}", bit), damaged, 0x5000 | std::uint64_t{1} << bit, version);
    }
    for (const unsigned bit : {0u, 8u, 56u, 62u}) {
      tables.add_l1(21, fmt::format("reserved bit {}", bit), damaged, 0x4000 | std::uint64_t{1} << bit, version);
    }
  }
  tables.add_entry(30, "zero flag", damaged, zero, 2);
  tables.add_entry(30, "zero flag with a host cluster", damaged, 0x5000 | zero | copied, 2);
}

void add_refcount_blocks(Tables& tables) {
  const ImageBuilder sample = sample_image();
  const std::uint64_t table = sample.refcount_table();
  const auto add = [&](unsigned rule, std::string name, std::uint64_t index, std::uint64_t raw) {
    ImageBuilder image = sample_image();
    image.put64(table + index * 8, raw);
    tables.add(rule, std::move(name), never_written, std::move(image));
  };
  for (const std::uint64_t index : {0u, 1u}) {
    add(20, fmt::format("refcount block {} behind the end", index), index, std::uint64_t{1} << 40);
    add(20, fmt::format("refcount block {} at 2^63", index), index, std::uint64_t{1} << 63);
    add(26, fmt::format("refcount block {} unaligned", index), index, 0x2200);
    add(26, fmt::format("refcount block {} with reserved bits", index), index, 0x2001);
    add(26, fmt::format("refcount block {} upon the refcount table", index), index, table);
    add(26, fmt::format("refcount block {} upon the L1 table", index), index, sample.l1_table());
    add(26, fmt::format("refcount block {} upon an L2 table", index), index, sample.l2_table());
  }
  // Nothing reaches for them, least of all by making the file longer.
  add(56, "refcount block at 4 GiB", 1, std::uint64_t{1} << 32);
  add(27, "two entries for one refcount block", 1, sample.refcount_block());
  ImageBuilder image = sample_image();
  image.put64(48, image.l1_table());
  tables.add(26, "refcount table upon the L1 table", never_written, std::move(image));
  image = sample_image();
  image.put64(40, image.refcount_table());
  // The refcount table's first entry, read as an L1 entry, names the refcount block as L2 table: counts as entries.
  tables.add(26, "L1 table upon the refcount table", {OnRead::fails, OnWrite::refused_at_open}, std::move(image));
}

void add_metadata_as_data(Tables& tables) {
  for (const bool with_snapshot : {false, true}) {
    ImageBuilder sample = sample_image();
    if (with_snapshot && !add_snapshot(sample.bytes(), "1")) continue;
    struct Target {
      std::string_view name;
      std::uint64_t at;
    };
    std::vector<Target> targets = {{"refcount table", sample.refcount_table()},
                                   {"refcount block", sample.refcount_block()},
                                   {"L1 table", sample.l1_table()},
                                   {"L2 table", sample.l2_table()}};
    if (with_snapshot) {
      targets = {{"snapshot table", sample.load64(64)}, {"snapshot L1 table", sample.load64(sample.load64(64))}};
    }
    for (const Target& target : targets) {
      for (const std::uint64_t flags : {std::uint64_t{0}, copied, zero, zero | copied}) {
        ImageBuilder image = sample;
        image.set_l1(0, image.l2_table() | copied);
        image.set_count(image.l2_table() / image.cluster_size(), 1);
        image.set_l2(0, target.at | flags);
        tables.add(23, fmt::format("data in the {} with flags {:x}", target.name, flags), write_damaged,
                   std::move(image));
      }
    }
  }
  // Offset 0 is the header; only a compressed entry can say it.
  tables.add_entry(23, "compressed data in the header", damaged, compressed);
}

void add_tables_as_tables(Tables& tables) {
  const ImageBuilder sample = sample_image();
  for (const auto& [name, at, reads] : {std::tuple{"itself", sample.l1_table(), true},
                                        {"the refcount table", sample.refcount_table(), true},
                                        {"the refcount block", sample.refcount_block(), false}}) {
    ImageBuilder image = sample_image();
    image.set_l1(0, at | copied);
    const OnRead read = reads ? OnRead::works : OnRead::fails;
    tables.add(28, fmt::format("L1 entry names {}", name), {read, OnWrite::refused_at_open}, std::move(image));
  }
  ImageBuilder image = sample_image();
  image.set_l1(1, image.l2_table() | copied);
  tables.add(29, "two L1 entries for one L2 table", never_written, std::move(image));
  FreshImageOptions options = ImageBuilder::small_options();
  options.size_bytes = 2000 * options.geometry.guest_bytes_per_l2();
  ImageBuilder many(options);
  many.add_data(0, std::byte{0x11});
  for (std::uint64_t i = 1; i < 2000; ++i) many.set_l1(i, many.l2_table());
  tables.add(29, "2000 L1 entries for one L2 table", never_written, std::move(many));
}

void add_counts(Tables& tables) {
  const ImageBuilder sample = sample_image();
  const std::uint64_t data = sample.load64(sample.l2_table()) & format::entry_offset_mask;
  const std::uint64_t unused = unused_cluster * sample.cluster_size();
  const auto add = [&](unsigned rule, std::string name, Reaction reaction, std::uint64_t offset, std::uint64_t count,
                       std::uint64_t guest) -> HostileImage& {
    ImageBuilder image = sample_image();
    image.set_count(offset / image.cluster_size(), count);
    return tables.add(rule, std::move(name), reaction, std::move(image), guest);
  };
  for (const std::uint64_t count : {0u, 2u, 65535u}) {
    add(24, fmt::format("COPIED on data with refcount {}", count), write_damaged, data, count, 0);
    add(24, fmt::format("COPIED on an L2 table with refcount {}", count), write_damaged, sample.l2_table(), count,
        unused);
  }
  // Cluster 0 is never handed out, whatever its count.
  add(25, "refcount 0 on the header", accepted, 0, 0, unused);
  const std::pair<std::string_view, std::uint64_t> structures[] = {{"refcount table", sample.refcount_table()},
                                                                   {"refcount block", sample.refcount_block()},
                                                                   {"L1 table", sample.l1_table()}};
  for (const auto& [name, at] : structures) {
    add(25, fmt::format("refcount 0 on the {}", name), write_damaged, at, 0, unused);
  }
  ImageBuilder image = sample_image();
  image.put64(image.refcount_table(), 0);
  tables.add(25, "no refcount block at all", write_damaged, std::move(image), unused);
  ImageBuilder aliased = sample_image();
  aliased.set_l2(1, data | copied);
  tables.add(24, "COPIED on one cluster for two guest clusters", accepted, std::move(aliased));

  ImageBuilder shared = sample_image();
  shared.set_l2(0, data);  // without COPIED: the write makes a copy and gives this cluster back
  shared.set_count(data / shared.cluster_size(), 0);
  tables.add(44, "refcount underflow of data", write_damaged, std::move(shared));
  ImageBuilder packed = sample_image();
  packed.set_count((packed.load64(packed.l2_table() + 16) & 0xffffff) / packed.cluster_size(), 0);
  const std::uint64_t third = 2 * packed.cluster_size();
  tables.add(44, "refcount underflow of compressed data", write_damaged, std::move(packed), third);
  ImageBuilder twice = sample_image();
  twice.set_l2(0, data);
  twice.set_l2(1, data);
  tables.add(44, "two guest clusters, one reference", {OnRead::works, OnWrite::marks_when_flushed}, std::move(twice))
      .write_bytes = 2 * sample.cluster_size();
}

// A count of 0 on what only a snapshot needs.
void add_snapshot_counts(Tables& tables) {
  ImageBuilder sample = sample_image();
  if (!add_snapshot(sample.bytes(), "1")) return;
  const std::uint64_t table = sample.load64(64);
  for (const auto& [name, at] : {std::pair{"snapshot table", table}, {"snapshot L1 table", sample.load64(table)}}) {
    ImageBuilder image = sample;
    image.set_count(at / image.cluster_size(), 0);
    tables.add(25, fmt::format("refcount 0 on the {}", name), write_damaged, std::move(image),
               unused_cluster * image.cluster_size());
  }
}

// Every cluster that has a count has one above 0, and an L2 table lies where the next refcount block, or the longer
// refcount table, would be put.
void add_full_blocks(Tables& tables) {
  for (const bool table_is_full : {false, true}) {
    FreshImageOptions options = ImageBuilder::small_options(3, 9);
    options.geometry.refcount_order = 6;
    ImageBuilder image(options);
    const std::uint64_t range = image.geometry().refcounts_per_block() * image.cluster_size();
    const std::uint64_t blocks = table_is_full ? image.geometry().refcount_table_entries_per_cluster() : 1;
    const std::uint64_t first_block = image.refcount_block();
    // Behind the counted range come a refcount block and, in the second image, the longer table.
    const std::uint64_t l2_table = blocks * range + (table_is_full ? image.cluster_size() : 0);
    image.bytes().resize(l2_table + image.cluster_size());
    for (std::uint64_t i = 0; i < blocks; ++i) {
      const std::uint64_t block = i == 0 ? first_block : i * range;
      image.put64(image.refcount_table() + i * 8, block);
      for (std::uint64_t at = block; at < block + image.cluster_size(); at += 8) image.put64(at, 1);
    }
    image.set_l1(1, l2_table | copied);
    tables.add(
        25, table_is_full ? "L2 table where the refcount table would go" : "L2 table where a refcount block would go",
        write_damaged, std::move(image), unused_cluster * image.cluster_size());
  }
}

void add_subclusters(Tables& tables) {
  FreshImageOptions options = ImageBuilder::small_options(3, 14);
  options.geometry.extended_l2 = true;
  const auto add = [&](std::string name, std::uint64_t raw, std::uint64_t bitmap, OnRead read) {
    ImageBuilder image(options);
    const std::uint64_t host = image.add_data(0, std::byte{0x11});
    image.set_l2(0, raw == 0 ? 0 : raw | host, bitmap);
    tables.add(31, std::move(name), {read, OnWrite::refused_at_open}, std::move(image));
  };
  add("subcluster both allocated and zero", copied, 0x00000001'00000001, OnRead::fails);
  add("another subcluster both allocated and zero", copied, 0x80000000'80000001, OnRead::fails);
  add("subcluster allocated without a host cluster", 0, 0x00000001, OnRead::fails);
  add("zero flag beside subclusters", copied | zero, 0x00000001, OnRead::fails);
  add("subclusters of a compressed cluster", compressed, 0x00000001, OnRead::fails);
  add("subclusters in order", copied, 0xfffffffe'00000001, OnRead::works);
}

// Valid tables for files that are nearly all hole. In one, a data cluster lies near the end of 8 TiB.
void add_sparse(Tables& tables) {
  constexpr std::uint64_t far = std::uint64_t{7} << 40;
  FreshImageOptions options;
  options.size_bytes = std::uint64_t{32} << 40;
  ImageBuilder image(options);
  image.add_data(0, std::byte{0x11});
  const std::uint64_t block = image.add_clusters(1);
  image.put64(image.refcount_table() + far / image.geometry().host_bytes_per_refcount_block() * 8, block);
  image.bytes()[block + 1] = std::byte{1};  // 16 bit: the count of the cluster that begins the block's range
  image.set_l2(1, far | copied);
  tables.add(60, "file of 8 TiB", accepted, std::move(image)).file_size_bytes = std::uint64_t{8} << 40;
  tables.last().write_bytes = 2 * options.geometry.cluster_size_bytes();
  // Nothing but hole behind the sample, in the smallest clusters: 2^31 of them.
  tables.add(60, "sample in a file of 1 TiB", accepted, sample_image(3, 9)).file_size_bytes = std::uint64_t{1} << 40;
}

}  // namespace

std::vector<HostileImage> hostile_tables() {
  Tables tables;
  add_pointers(tables);
  add_refcount_blocks(tables);
  add_metadata_as_data(tables);
  add_tables_as_tables(tables);
  add_counts(tables);
  add_snapshot_counts(tables);
  add_full_blocks(tables);
  add_subclusters(tables);
  add_sparse(tables);
  return tables.take();
}

}  // namespace byre::test
