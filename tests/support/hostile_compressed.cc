// Compressed clusters: descriptors that reach too far, payloads that decode to too little, too much or never end.

#include <fmt/core.h>
#include <zstd.h>

#include "base/math.h"
#include "format/compression.h"
#include "support/hostile_images.h"

namespace byre::test {
namespace {

constexpr Reaction overlong = {OnRead::works, OnWrite::works};

ImageBuilder zstd_image() {
  FreshImageOptions options = ImageBuilder::small_options();
  options.compression_type = format::CompressionType::zstd;
  return ImageBuilder(options);
}

std::vector<std::byte> zstd_frame(std::uint64_t length_bytes) {
  const std::vector<std::byte> content(length_bytes, std::byte{0x5a});
  std::vector<std::byte> frame(ZSTD_compressBound(length_bytes));
  frame.resize(ZSTD_compress(frame.data(), frame.size(), content.data(), content.size(), 1));
  return frame;
}

class Compressed {
 public:
  HostileImage& add(unsigned rule, std::string name, Reaction reaction, ImageBuilder image) {
    images_.push_back(
        {.rule = rule, .name = std::move(name), .reaction = reaction, .bytes = image.take(), .guest_offset = 0});
    return images_.back();
  }
  void add_payload(std::string name, Reaction reaction, bool zstd, ConstBytes payload) {
    ImageBuilder image = zstd ? zstd_image() : sample_image();
    image.add_compressed(0, payload);
    add(34, std::move(name), reaction, std::move(image));
  }
  std::vector<HostileImage> take() { return std::move(images_); }

 private:
  std::vector<HostileImage> images_;
};

// Stored blocks: 00, length, its complement, bytes; 01 in front of the last one.
std::vector<std::byte> stored_blocks(std::uint64_t length_bytes, bool finished) {
  std::vector<std::byte> payload;
  while (length_bytes > 0) {
    const std::uint64_t part = std::min<std::uint64_t>(length_bytes, 1024);
    length_bytes -= part;
    payload.push_back(static_cast<std::byte>(finished && length_bytes == 0));
    for (const std::uint64_t value : {part, ~part}) {
      payload.push_back(static_cast<std::byte>(value));
      payload.push_back(static_cast<std::byte>(value >> 8));
    }
    payload.resize(payload.size() + part, std::byte{0x77});
  }
  return payload;
}

void add_descriptors(Compressed& images) {
  const auto entry = [](std::uint64_t offset, std::uint64_t additional_sectors) {
    return format::entry_compressed_flag | additional_sectors << (70 - 12) | offset;
  };
  const std::uint64_t end = round_up(sample_image().bytes().size(), 4096);
  struct Case {
    std::string_view name;
    std::uint64_t raw;
    Reaction reaction;
  };
  for (const Case& one : {Case{"at the end", entry(end, 0), fails}, Case{"across the end", entry(end - 512, 1), fails},
                          Case{"far behind the end", entry(std::uint64_t{1} << 55, 15), fails},
                          Case{"above 2^56", entry(std::uint64_t{1} << 57, 0), damaged},
                          Case{"with COPIED", entry(0x5000, 0) | format::entry_copied_flag, damaged}}) {
    ImageBuilder image = sample_image();
    image.set_l2(0, one.raw);
    images.add(33, fmt::format("compressed data {}", one.name), one.reaction, std::move(image));
  }
}

void add_deflate(Compressed& images) {
  const std::uint64_t size = 4096;
  std::vector<std::byte> garbage(900);
  for (std::size_t i = 0; i < garbage.size(); ++i) garbage[i] = static_cast<std::byte>(i * 131 + 7);
  images.add_payload("garbage", fails, false, garbage);
  images.add_payload("zeros", fails, false, std::vector<std::byte>(600));
  images.add_payload("all ones", fails, false, std::vector<std::byte>(600, std::byte{0xff}));
  images.add_payload("deflate too short", fails, false, deflated_cluster(size - 1, std::byte{0x55}));
  images.add_payload("deflate without an end", fails, false, stored_blocks(size - 1024, false));
  images.add_payload("deflate that goes on", overlong, false, deflated_cluster(2 * size, std::byte{0x55}));
  images.add_payload("deflate bomb", overlong, false, deflated_cluster(2 << 20, std::byte{0}));
  std::vector<std::byte> wrapped = {std::byte{0x78}, std::byte{0x9c}};
  const std::vector<std::byte> stream = deflated_cluster(size, std::byte{0x55});
  wrapped.insert(wrapped.end(), stream.begin(), stream.end());
  images.add_payload("zlib header", fails, false, wrapped);
  std::vector<std::byte> cut = stored_blocks(size, true);
  cut.resize(2000);
  images.add_payload("deflate cut", fails, false, cut);

  ImageBuilder image = sample_image();
  const std::uint64_t host = image.add_clusters(2);
  image.put_bytes(host, stored_blocks(size, true));
  image.set_l2(0, format::entry_compressed_flag | std::uint64_t{15} << 58 | host);
  images.add(35, "two clusters of payload", accepted, std::move(image));
}

void add_zstd(Compressed& images) {
  const std::uint64_t size = 4096;
  images.add_payload("zstd too short", fails, true, zstd_frame(size - 1));
  images.add_payload("zstd too long", fails, true, zstd_frame(size + 1));
  images.add_payload("zstd bomb", fails, true, zstd_frame(64 << 20));
  images.add_payload("zstd in order", accepted, true, zstd_frame(size));
  const auto frame = [](std::initializer_list<unsigned> head) {
    std::vector<std::byte> bytes = {std::byte{0x28}, std::byte{0xb5}, std::byte{0x2f}, std::byte{0xfd}};
    for (const unsigned value : head) bytes.push_back(static_cast<std::byte>(value));
    bytes.resize(600);
    return bytes;
  };
  images.add_payload("zstd with a dictionary id", fails, true, frame({0x63, 0x78, 0x56, 0x34, 0x12, 0x00, 0x0f}));
  std::vector<std::byte> wide = frame({0x00, 17 << 3, 0x01, 0x80, 0x00});  // one block of 4096 bytes as they are
  wide.resize(9 + size, std::byte{0x5a});
  images.add_payload("zstd window of 128 MiB", fails, true, wide);
  images.add_payload("zstd window of 3.75 TiB", fails, true, frame({0x00, 0xff, 0x01, 0x00, 0x00}));
  images.add_payload("zstd content of 2^64-1", fails, true,
                     frame({0xe0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}));
  std::vector<std::byte> skippable;  // nothing but frames to skip, each empty
  while (skippable.size() < 4000) {
    for (const unsigned value : {0x50u, 0x2au, 0x4du, 0x18u, 0u, 0u, 0u, 0u}) {
      skippable.push_back(static_cast<std::byte>(value));
    }
  }
  images.add_payload("zstd skippable frames only", fails, true, skippable);
  images.add_payload("zstd garbage", fails, true, std::vector<std::byte>(600, std::byte{0xa5}));
}

}  // namespace

std::vector<HostileImage> hostile_compressed() {
  Compressed images;
  add_descriptors(images);
  add_deflate(images);
  add_zstd(images);
  return images.take();
}

}  // namespace byre::test
