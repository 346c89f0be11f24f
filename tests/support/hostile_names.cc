// Header extensions, and the names of other files that an image may carry. None of the names must ever be opened.

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "support/hostile_images.h"

namespace byre::test {
namespace {

constexpr std::uint32_t backing_format = 0xe2792aca;
constexpr std::uint32_t feature_names = 0x6803f857;
constexpr std::uint32_t encryption_header = 0x0537be77;
constexpr std::uint32_t data_file_name = 0x44415441;
constexpr std::uint64_t extensions_at = 112;
const std::string long_name(1023, 'n');

class Names {
 public:
  void add(unsigned rule, std::string name, Reaction reaction, ImageBuilder image, bool info_refused = false) {
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

std::vector<std::byte> be64_pair(std::uint64_t first, std::uint64_t second) {
  std::vector<std::byte> bytes(16);
  store_be64(bytes.data(), first);
  store_be64(bytes.data() + 8, second);
  return bytes;
}

void add_backing_places(Names& names) {
  struct Case {
    std::string_view name;
    std::uint64_t offset;
    std::uint32_t size;
  };
  for (const Case& one : {Case{"behind the cluster", 4097, 4}, Case{"at 2^63", std::uint64_t{1} << 63, 4},
                          Case{"at 2^64-1", ~std::uint64_t{0}, 4}, Case{"inside the header", 16, 4},
                          Case{"at the header's last byte", 111, 4}, Case{"across the cluster's end", 4092, 5},
                          Case{"too long", 512, 1024}, Case{"of 2^32-1 bytes", 512, 0xffff'ffff}}) {
    ImageBuilder image = sample_image();
    image.add_extension(backing_format, bytes_from("raw"));
    image.put64(8, one.offset);
    image.put32(16, one.size);
    names.add(10, fmt::format("backing name {}", one.name), refused, std::move(image), true);
  }
  ImageBuilder image = sample_image();
  image.add_extension(backing_format, bytes_from("raw"));
  image.set_backing(std::string("base\0.raw", 9));
  names.add(10, "backing name with NUL", refused, std::move(image), true);
}

void add_encryption(Names& names) {
  for (const std::uint32_t method : {0u, 1u}) {
    ImageBuilder image = sample_image();
    image.add_extension(encryption_header, be64_pair(0x1000, 592));
    image.put32(32, method);
    names.add(19, fmt::format("encryption pointer with method {}", method), refused, std::move(image), true);
  }
  for (const auto& [offset, length] : {std::pair<std::uint64_t, std::uint64_t>{0x1001, 592},
                                       {0x1000, 591},
                                       {0x1000, 0},
                                       {0x100000, 592},
                                       {0x1000, std::uint64_t{1} << 62},
                                       {0x1000, ~std::uint64_t{0}},
                                       {std::uint64_t{1} << 63, 592},
                                       {0, 592}}) {
    ImageBuilder image = sample_image();
    image.add_extension(encryption_header, be64_pair(offset, length));
    image.put32(32, 2);
    names.add(54, fmt::format("encryption area at {:x} with {:x} bytes", offset, length), refused, std::move(image),
              true);
  }
}

// A LUKS header with one free and seven active key slots.
std::vector<std::byte> luks_header() {
  std::vector<std::byte> raw(592);
  const auto put = [&](std::size_t at, std::string_view text) {
    std::ranges::copy(bytes_from(text), raw.begin() + static_cast<std::ptrdiff_t>(at));
  };
  put(0, "LUKS\xba\xbe");
  raw[7] = std::byte{1};
  put(8, "aes");
  put(40, "xts-plain64");
  put(72, "sha256");
  store_be32(raw.data() + 104, 4040);
  store_be32(raw.data() + 108, 64);
  store_be32(raw.data() + 164, 1000);
  put(168, "00000000-0000-0000-0000-000000000001");
  for (std::uint32_t slot = 0; slot < 8; ++slot) {
    std::byte* at = raw.data() + 208 + std::size_t{slot} * 48;
    store_be32(at, slot == 0 ? 0x0000dead : 0x00ac71f3);
    store_be32(at + 4, 2000);
    store_be32(at + 40, 8 + slot * 504);
    store_be32(at + 44, 4000);
  }
  return raw;
}

// Encrypted images are not opened yet; looking at one shows the header, without computing anything from it.
void add_luks(Names& names) {
  struct Case {
    std::string_view name;
    std::size_t at;
    std::uint32_t value;
    bool info_refused;
  };
  for (const Case& one : {Case{"in order", 164, 1000, false}, Case{"without magic", 0, 0, true},
                          Case{"3999 stripes", 208 + 44, 3999, true}, Case{"no stripes", 208 + 48 + 44, 0, true},
                          Case{"no iterations", 164, 0, true}, Case{"no iterations of a slot", 208 + 48 + 4, 0, true},
                          Case{"2^32-1 iterations", 164, 0xffff'ffff, false},
                          Case{"2^32-1 iterations of a slot", 208 + 48 + 4, 0xffff'ffff, false},
                          Case{"key of 2^32-1 bytes", 108, 0xffff'ffff, true}, Case{"key of no bytes", 108, 0, true},
                          Case{"unknown slot state", 208, 1, true}}) {
    ImageBuilder image = sample_image();
    std::vector<std::byte> header = luks_header();
    store_be32(header.data() + one.at, one.value);
    image.add_extension(encryption_header, be64_pair(image.add_content(header), 4096));
    image.put32(32, 2);
    names.add(53, fmt::format("LUKS {}", one.name), refused, std::move(image), one.info_refused);
  }
  for (const std::size_t at : {8u, 40u, 72u, 168u}) {
    ImageBuilder image = sample_image();
    std::vector<std::byte> header = luks_header();
    std::fill_n(header.begin() + static_cast<std::ptrdiff_t>(at), at == 168 ? 40 : 32, std::byte{'a'});
    image.add_extension(encryption_header, be64_pair(image.add_content(header), 4096));
    image.put32(32, 2);
    names.add(53, fmt::format("LUKS text at {} without NUL", at), refused, std::move(image), true);
  }
}

void add_extensions(Names& names) {
  for (const std::uint32_t length : {0x1000u, 0x7fff'ffffu, 0xffff'fff8u, 0xffff'ffffu}) {
    for (const std::uint32_t type : {backing_format, feature_names, 0x12345678u}) {
      ImageBuilder image = sample_image();
      image.put32(extensions_at, type);
      image.put32(extensions_at + 4, length);
      names.add(37, fmt::format("extension {:x} of {:x} bytes", type, length), refused, std::move(image), true);
    }
  }
  for (const unsigned count : {64u, 65u, 490u}) {
    ImageBuilder image = sample_image();
    for (unsigned i = 0; i < count; ++i) image.put64(extensions_at + std::uint64_t{8} * i, 0x77777777'00000000);
    names.add(37, fmt::format("{} empty extensions", count), count > 64 ? refused : accepted, std::move(image),
              count > 64);
  }
  for (const std::uint32_t type : {backing_format, feature_names, data_file_name}) {
    ImageBuilder image = sample_image();
    image.add_extension(type, bytes_from("raw"));
    image.add_extension(type, bytes_from("raw"));
    names.add(37, fmt::format("extension {:x} twice", type), refused, std::move(image), true);
  }
}

void add_feature_names(Names& names) {
  std::vector<std::byte> table(3 * 48);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto text = bytes_from("\x1b[31m\x07\r\n\x7f\xc2\x9b evil \xff\xfe");
    std::ranges::copy(text, table.begin() + static_cast<std::ptrdiff_t>(i * 48 + 2));
  }
  table[1] = std::byte{60};    // an incompatible bit that the engine does not know
  table[48] = std::byte{9};    // no such kind
  table[97] = std::byte{200};  // no such bit
  for (const bool uses_it : {false, true}) {
    ImageBuilder image = sample_image();
    image.add_extension(feature_names, table);
    if (uses_it) image.put64(72, std::uint64_t{1} << 60);
    names.add(38, uses_it ? "control bytes name an unknown feature" : "control bytes and bits above 63",
              uses_it ? refused : accepted, std::move(image), uses_it);
  }
}

void add_files(Names& names) {
  const std::array<std::string, 8> targets = {
      "/etc/passwd",
      "../../../../etc/passwd",
      "/dev/zero",
      "nbd:localhost:10809",
      "nbd://localhost/export",
      "json:{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}",
      "http://localhost/\x1b]0;title\x07",
      long_name,
  };
  for (const std::string& target : targets) {
    ImageBuilder image = sample_image();
    image.put64(72, format::incompatible::external_data_file);
    image.add_extension(data_file_name, bytes_from(target));
    names.add(49, fmt::format("data file {}", &target - targets.data()), refused, std::move(image));
  }
  // Opening stops at the pseudo-protocol, or finds no such file; that real files are not opened needs a real directory.
  for (const std::string& target : targets) {
    if (target.find(':') == std::string::npos) continue;
    ImageBuilder image = sample_image();
    image.add_extension(backing_format, bytes_from("raw"));
    image.set_backing(target);
    names.add(50, fmt::format("backing file {}", &target - targets.data()), refused, std::move(image));
  }
  ImageBuilder image = sample_image();
  image.set_backing("base.raw");
  names.add(51, "backing format missing", refused, std::move(image));
  image = sample_image();
  image.add_extension(backing_format, {});
  image.set_backing("base.raw");
  names.add(51, "backing format empty", refused, std::move(image));
  for (const bool compressed : {false, true}) {
    image = sample_image();
    image.put64(72, format::incompatible::external_data_file);
    if (!compressed) image.set_l2(2, 0);
    names.add(compressed ? 36 : 52, compressed ? "compressed entry beside a data file" : "data file offset mismatch",
              refused, std::move(image));
  }
}

}  // namespace

std::vector<HostileImage> hostile_names() {
  Names names;
  add_backing_places(names);
  add_encryption(names);
  add_luks(names);
  add_extensions(names);
  add_feature_names(names);
  add_files(names);
  return names.take();
}

}  // namespace byre::test
