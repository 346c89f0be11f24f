// Bitmaps. The engine keeps none up to date: it clears their autoclear bit before the first change. Extension,
// directory and tables are judged at each opening; for a writer they are metadata like any other.

#include <fmt/core.h>

#include "base/math.h"
#include "format/bitmap_directory.h"
#include "support/hostile_images.h"

namespace byre::test {
namespace {

constexpr std::uint64_t extension_at = 112;
constexpr std::uint64_t unused_guest = 20 * 4096;  // of a guest cluster that the sample leaves unallocated

struct Bitmaps {
  ImageBuilder image = sample_image();
  std::uint64_t directory;
  std::uint64_t table;
  std::uint64_t data;
};

// A valid bitmap named "bitmap".
Bitmaps with_bitmap() {
  Bitmaps made;
  ImageBuilder& image = made.image;
  made.data = image.add_clusters(1, std::byte{0x0f});
  made.table = image.add_clusters(1);
  image.put64(made.table, made.data);
  format::BitmapEntry entry;
  entry.table = HostOffset(made.table);
  entry.table_entries = 1;
  entry.granularity_bits = 16;
  entry.name = "bitmap";
  const auto directory = format::encode_bitmap_directory({entry}, image.geometry());
  made.directory = image.add_content(*directory);
  const format::BitmapsExtension extension{1, 0, directory->size(), HostOffset(made.directory)};
  image.add_extension(0x23852875, format::encode_bitmaps_extension(extension));
  image.put64(88, format::autoclear::bitmaps);
  return made;
}

class Images {
 public:
  void add(unsigned rule, std::string name, Reaction reaction, ImageBuilder image, bool info_refused,
           std::uint64_t guest_offset = 0) {
    images_.push_back({.rule = rule,
                       .name = std::move(name),
                       .reaction = reaction,
                       .bytes = image.take(),
                       .guest_offset = guest_offset,
                       .info_refused = info_refused});
  }
  std::vector<HostileImage> take() { return std::move(images_); }

 private:
  std::vector<HostileImage> images_;
};

void add_extension_fields(Images& images) {
  const auto add = [&](std::string name, std::uint64_t at, unsigned width_bytes, std::uint64_t value) {
    ImageBuilder image = with_bitmap().image;
    if (width_bytes == 4) {
      image.put32(extension_at + at, static_cast<std::uint32_t>(value));
    } else {
      image.put64(extension_at + at, value);
    }
    images.add(45, std::move(name), refused, std::move(image), true);
  };
  add("extension of 23 bytes", 4, 4, 23);
  for (const std::uint64_t count : {0u, 65536u, 0xffff'ffffu}) add(fmt::format("{} bitmaps", count), 8, 4, count);
  add("reserved field", 12, 4, 1);
  for (const std::uint64_t size :
       {std::uint64_t{0}, std::uint64_t{67107841}, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    add(fmt::format("directory of {:x} bytes", size), 16, 8, size);
  }
  for (const std::uint64_t at : {std::uint64_t{0}, std::uint64_t{0x5001}, std::uint64_t{1} << 40,
                                 std::uint64_t{1} << 63, ~std::uint64_t{0} - 4095}) {
    add(fmt::format("directory at {:x}", at), 24, 8, at);
  }
}

void add_directories(Images& images) {
  const auto add = [&](std::string name, std::uint64_t at, std::initializer_list<unsigned> values) {
    Bitmaps made = with_bitmap();
    for (const unsigned value : values) made.image.bytes()[made.directory + at++] = static_cast<std::byte>(value);
    images.add(45, std::move(name), refused, std::move(made.image), true);
  };
  add("type 2", 16, {2});
  for (const unsigned bits : {0u, 8u, 32u, 63u, 64u, 255u}) add(fmt::format("granularity 2^{}", bits), 17, {bits});
  add("name without bytes", 18, {0, 0});
  add("name past the directory", 18, {0xff, 0xff});
  add("extra data past the directory", 20, {0xff, 0xff, 0xff, 0xff});
  add("unknown flags", 12, {0x80, 0, 0, 0});
  add("no table entries", 8, {0, 0, 0, 0});
  add("2^32-1 table entries", 8, {0xff, 0xff, 0xff, 0xff});
  add("table at offset 0", 0, {0, 0, 0, 0, 0, 0, 0, 0});
  add("table unaligned", 7, {1});
  add("table behind the end", 3, {1});
  add("table at 2^63", 0, {0x80});
}

// What the extension and the directory say of each other.
void add_counts(Images& images) {
  const auto add = [&](std::string name, std::uint32_t count, std::uint64_t directory_bytes, std::uint64_t length) {
    Bitmaps made = with_bitmap();
    const std::vector<std::byte> entry(made.image.bytes().begin() + static_cast<std::ptrdiff_t>(made.directory),
                                       made.image.bytes().begin() + static_cast<std::ptrdiff_t>(made.directory + 32));
    made.image.put_bytes(made.directory + 32, entry);
    made.image.put32(extension_at + 8, count);
    made.image.put64(extension_at + 16, directory_bytes);
    made.image.bytes().resize(made.directory + length);
    images.add(45, std::move(name), refused, std::move(made.image), true);
  };
  add("directory ends before its count", 2, 32, 4096);
  add("bytes behind the last entry", 1, 64, 4096);
  add("two bitmaps of one name", 2, 64, 4096);
  add("file ends inside the directory", 1, 32, 20);

  Bitmaps made = with_bitmap();
  made.image.bytes().resize(made.directory + 4096);
  format::BitmapEntry entry;
  entry.table = HostOffset(made.table);
  entry.table_entries = 1;
  entry.name = std::string(1023, 'n');
  auto directory = *format::encode_bitmap_directory({entry}, made.image.geometry());
  directory[18] = std::byte{4};  // 1024: the padding becomes part of the name
  directory[19] = std::byte{0};
  made.image.put_bytes(made.directory, directory);
  made.image.put64(extension_at + 16, directory.size());
  images.add(45, "name of 1024 bytes", refused, std::move(made.image), true);
}

// An image with this bitmap table entry, in a bitmap that somebody may be using.
ImageBuilder with_table_entry(std::uint64_t raw, bool in_use) {
  Bitmaps made = with_bitmap();
  made.image.put64(made.table, raw);
  if (in_use) made.image.put32(made.directory + 12, 1);
  return std::move(made.image);
}

void add_tables(Images& images) {
  // Of a bitmap that is not in use, everything must be right; one in use is not looked at, here as in other readers.
  for (const bool in_use : {false, true}) {
    const auto add = [&](std::string_view name, ImageBuilder image) {
      images.add(46, fmt::format("{}{}", name, in_use ? " in use" : ""), in_use ? accepted : refused, std::move(image),
                 !in_use);
    };
    add("bitmap data with reserved bits", with_table_entry(0xa002, in_use));
    add("bitmap data above 2^56", with_table_entry(std::uint64_t{1} << 56, in_use));
    add("bitmap data unaligned", with_table_entry(0xa200, in_use));
    add("bitmap flag with an offset", with_table_entry(0xa001, in_use));
    Bitmaps made = with_bitmap();
    made.image.put32(made.directory + 8, 3);
    if (in_use) made.image.put32(made.directory + 12, 1);
    add("bitmap table longer than the disk needs", std::move(made.image));
  }
  Bitmaps made = with_bitmap();
  made.image.bytes()[made.directory + 17] = std::byte{9};  // 8192 bits, still one cluster
  images.add(46, "finest granularity", accepted, std::move(made.image), false);
  made = with_bitmap();
  made.image.bytes().resize(made.table + 4);
  made.image.put64(extension_at + 24, made.data);  // the directory moves to where the data was
  format::BitmapEntry entry;
  entry.table = HostOffset(made.table);
  entry.table_entries = 1;
  entry.name = "bitmap";
  made.image.put_bytes(made.data, *format::encode_bitmap_directory({entry}, made.image.geometry()));
  images.add(46, "file ends inside the bitmap table", refused, std::move(made.image), true);
}

// Data that lies where it must not. Nobody writes there for the bitmap, so only what else claims it matters.
void add_data(Images& images) {
  const ImageBuilder sample = sample_image();
  const auto add = [&](std::string_view name, std::uint64_t at) {
    images.add(47, fmt::format("bitmap data {}", name), accepted, with_table_entry(at, false), false);
  };
  add("upon the L1 table", sample.l1_table());
  add("upon the L2 table", sample.l2_table());
  add("upon the refcount block", sample.refcount_block());
  add("upon the bitmap table", with_bitmap().table);
  add("behind the end", std::uint64_t{1} << 40);
  add("in the last cluster there can be", format::entry_offset_mask & ~std::uint64_t{0xfff});
  // Where guest data is claimed, one of the two owners is wrong.
  const std::uint64_t guest_data = sample.load64(sample.l2_table()) & format::entry_offset_mask;
  images.add(47, "bitmap data upon guest data", write_damaged, with_table_entry(guest_data, false), false);
}

// Structures of bitmaps that are something else to a writer.
void add_overlaps(Images& images) {
  const Bitmaps sample = with_bitmap();
  const std::pair<std::string_view, std::uint64_t> own[] = {
      {"bitmap directory", sample.directory}, {"bitmap table", sample.table}, {"data of a bitmap", sample.data}};
  for (const auto& [name, at] : own) {
    for (const std::uint64_t flags : {std::uint64_t{0}, format::entry_copied_flag, format::entry_zero_flag,
                                      format::entry_zero_flag | format::entry_copied_flag}) {
      ImageBuilder image = sample.image;
      image.set_l2(0, at | flags);
      images.add(23, fmt::format("data in the {} with flags {:x}", name, flags), write_damaged, std::move(image),
                 false);
    }
    ImageBuilder image = sample.image;
    image.set_l2(0, format::entry_compressed_flag | at);
    images.add(23, fmt::format("compressed data in the {}", name), damaged, std::move(image), false);
    image = sample.image;
    image.set_count(at / image.cluster_size(), 0);
    images.add(25, fmt::format("refcount 0 on the {}", name), write_damaged, std::move(image), false, unused_guest);
  }
  for (const auto& [name, at] : {std::pair{"the L1 table", sample.image.l1_table()},
                                 {"an L2 table", sample.image.l2_table()},
                                 {"the refcount block", sample.image.refcount_block()},
                                 {"the bitmap directory", sample.directory}}) {
    Bitmaps made = with_bitmap();
    made.image.put64(made.directory, at);
    made.image.put32(made.directory + 12, 1);  // in use, so that readers do not look at the table
    images.add(26, fmt::format("bitmap table upon {}", name), never_written, std::move(made.image), false);
  }
}

// Many bitmaps, all with the same table: what is read must not be their product (H-4). `entries` for each table.
void add_many(Images& images) {
  const auto make = [](std::size_t count, std::uint32_t entries) {
    Bitmaps made = with_bitmap();
    const std::uint64_t table = made.image.add_clusters(round_up(std::uint64_t{entries} * 8, 4096) / 4096);
    std::vector<format::BitmapEntry> bitmaps(count);
    for (std::size_t i = 0; i < count; ++i) {
      bitmaps[i].table = HostOffset(table);
      bitmaps[i].table_entries = entries;
      bitmaps[i].in_use = true;
      bitmaps[i].name = fmt::format("{:x}", i);
    }
    const auto directory = *format::encode_bitmap_directory(bitmaps, made.image.geometry());
    made.image.put64(extension_at + 24, made.image.add_content(directory));
    made.image.put64(extension_at + 16, directory.size());
    made.image.put32(extension_at + 8, static_cast<std::uint32_t>(count));
    return std::move(made.image);
  };
  images.add(45, "20000 bitmaps with one table", never_written, make(20000, 1), false);
  images.add(45, "20000 bitmaps with one long table", refused, make(20000, 40000), true);
}

}  // namespace

std::vector<HostileImage> hostile_bitmaps() {
  Images images;
  add_extension_fields(images);
  add_directories(images);
  add_counts(images);
  add_tables(images);
  add_data(images);
  add_overlaps(images);
  add_many(images);
  return images.take();
}

}  // namespace byre::test
