// A walk over (type, length, data, padding to 8). Known types fill their member and may occur once; others are kept for
// the next rewrite. Left out: what an extension means beside the header's other fields; header.cc judges that.
#include "format/header_extensions.h"

#include <algorithm>

#include "base/endian.h"
#include "base/math.h"
#include "base/text.h"

namespace byre::format {
namespace {

constexpr std::uint32_t type_end = 0x00000000;
constexpr std::uint32_t type_backing_format = 0xe2792aca;
constexpr std::uint32_t type_feature_names = 0x6803f857;
constexpr std::uint32_t type_bitmaps = 0x23852875;
constexpr std::uint32_t type_encryption = 0x0537be77;
constexpr std::uint32_t type_data_file = 0x44415441;
constexpr std::size_t extension_head_bytes = 8;
constexpr std::size_t encryption_pointer_bytes = 16;

Result<> set_string(std::optional<std::string>& member, ConstBytes data, std::string_view what) {
  const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
  if (member.has_value()) return fail(ErrorCode::corrupt, "the header names the {} twice", what);
  if (text.find('\0') != std::string_view::npos) {
    return fail(ErrorCode::corrupt, "the {} '{}' contains a NUL byte", what, escape_untrusted(text));
  }
  if (!text.empty()) member = text;
  return {};
}

Result<> set_backing_format(ConstBytes data, Header& header) {
  if (data.size() > max_backing_format_bytes) {
    return fail(ErrorCode::corrupt, "the backing format's name has {} bytes, at most {} are allowed", data.size(),
                max_backing_format_bytes);
  }
  return set_string(header.backing_format, data, "backing format");
}

Result<> set_encryption_pointer(ConstBytes data, Header& header) {
  if (header.encryption) return fail(ErrorCode::corrupt, "the header has two encryption pointers");
  if (data.size() != encryption_pointer_bytes) {
    return fail(ErrorCode::corrupt, "the encryption pointer has {} bytes instead of {}", data.size(),
                encryption_pointer_bytes);
  }
  header.encryption = EncryptionPointer{HostOffset(load_be64(data.data())), load_be64(data.data() + 8)};
  return {};
}

Result<> set_bitmaps(ConstBytes data, Header& header) {
  if (header.bitmaps) return fail(ErrorCode::corrupt, "the header has two bitmaps extensions");
  BYRE_TRY(header.bitmaps, decode_bitmaps_extension(data));
  return {};
}

Result<> set_feature_names(ConstBytes data, Header& header) {
  if (header.feature_names) return fail(ErrorCode::corrupt, "the header has two feature name tables");
  header.feature_names = decode_feature_names(data);
  return {};
}

Result<> take_extension(std::uint32_t type, ConstBytes data, Header& header) {
  switch (type) {
    case type_backing_format: return set_backing_format(data, header);
    case type_feature_names: return set_feature_names(data, header);
    case type_bitmaps: return set_bitmaps(data, header);
    case type_encryption: return set_encryption_pointer(data, header);
    case type_data_file: return set_string(header.data_file_name, data, "data file");
    default: header.unknown_extensions.push_back({type, {data.begin(), data.end()}}); return {};
  }
}

void append(std::vector<std::byte>& out, std::uint32_t type, ConstBytes data) {
  const std::size_t start = out.size();
  out.resize(start + extension_head_bytes + round_up(data.size(), 8));
  store_be32(out.data() + start, type);
  store_be32(out.data() + start + 4, static_cast<std::uint32_t>(data.size()));
  std::copy(data.begin(), data.end(), out.begin() + static_cast<std::ptrdiff_t>(start + extension_head_bytes));
}

ConstBytes as_bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

}  // namespace

Result<> decode_header_extensions(ConstBytes area, Header& header) {
  for (unsigned count = 0; !area.empty(); ++count) {
    if (area.size() < extension_head_bytes) {
      return fail(ErrorCode::corrupt, "the header extensions end in {} stray bytes", area.size());
    }
    const std::uint32_t type = load_be32(area.data());
    const std::uint32_t length = load_be32(area.data() + 4);
    if (type == type_end) return {};
    if (count == max_header_extensions) {
      return fail(ErrorCode::corrupt, "the header has more than {} extensions", max_header_extensions);
    }
    area = area.subspan(extension_head_bytes);
    if (length > area.size()) {
      return fail(ErrorCode::corrupt, "header extension {:#010x} has {} bytes, but only {} remain in the header", type,
                  length, area.size());
    }
    BYRE_CHECK(take_extension(type, area.first(length), header));
    area = area.subspan(std::min<std::size_t>(round_up(length, 8), area.size()));
  }
  return {};
}

void append_header_extensions(const Header& header, std::vector<std::byte>& out) {
  if (header.backing_format) append(out, type_backing_format, as_bytes(*header.backing_format));
  if (header.data_file_name) append(out, type_data_file, as_bytes(*header.data_file_name));
  if (header.encryption) {
    std::byte pointer[encryption_pointer_bytes];
    store_be64(pointer, header.encryption->offset.bytes);
    store_be64(pointer + 8, header.encryption->length_bytes);
    append(out, type_encryption, pointer);
  }
  if (header.feature_names) append(out, type_feature_names, encode_feature_names(*header.feature_names));
  if (header.bitmaps) append(out, type_bitmaps, encode_bitmaps_extension(*header.bitmaps));
  for (const UnknownExtension& unknown : header.unknown_extensions) append(out, unknown.type, unknown.data);
  append(out, type_end, {});
}

}  // namespace byre::format
