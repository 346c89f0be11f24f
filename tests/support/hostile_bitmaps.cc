// Bitmaps. The engine keeps none up to date, so it never reads or writes one to serve a disk: it clears their autoclear
// bit before the first change. What the extension says is judged at each opening, the directory by whoever lists it.

#include <fmt/format.h>

#include "format/bitmap_directory.h"
#include "support/hostile_images.h"

namespace byre::test {
namespace {

constexpr std::uint64_t extension_at = 112;

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
  void add(unsigned rule, std::string name, Reaction reaction, ImageBuilder image, bool info_refused) {
    images_.push_back({.rule = rule,
                       .name = std::move(name),
                       .reaction = reaction,
                       .bytes = image.take(),
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
    images.add(45, std::move(name), accepted, std::move(made.image), true);
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
  add("table at 2^63", 0, {0x80});
  Bitmaps made = with_bitmap();
  made.image.put32(extension_at + 8, 2);
  images.add(45, "directory ends before its count", accepted, std::move(made.image), true);
}

void add_contents(Images& images) {
  const auto add = [&](unsigned rule, std::string name, std::uint64_t raw) {
    Bitmaps made = with_bitmap();
    made.image.put64(made.table, raw);
    images.add(rule, std::move(name), accepted, std::move(made.image), false);
  };
  add(46, "bitmap data with reserved bits", 0x5000 | 2);
  add(46, "bitmap data unaligned", 0x5200);
  add(46, "bitmap flag with an offset", 0x5000 | 1);
  add(47, "bitmap data upon guest data", 0x5000);
  add(47, "bitmap data upon the L1 table", 0x3000);
  Bitmaps made = with_bitmap();
  made.image.put32(made.directory + 8, 3);
  images.add(46, "bitmap table longer than the disk needs", accepted, std::move(made.image), false);
  // Guest data that lies in the bitmap directory is metadata to a writer.
  made = with_bitmap();
  made.image.set_l2(0, made.directory | format::entry_copied_flag);
  images.add(23, "data in the bitmap directory", write_damaged, std::move(made.image), false);
}

}  // namespace

std::vector<HostileImage> hostile_bitmaps() {
  Images images;
  add_extension_fields(images);
  add_directories(images);
  add_contents(images);
  return images.take();
}

}  // namespace byre::test
