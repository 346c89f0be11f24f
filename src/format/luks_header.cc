#include "format/luks_header.h"

#include <algorithm>

#include "base/endian.h"
#include "base/text.h"
#include "byre/base/assert.h"

namespace byre::format {

namespace {

constexpr std::uint64_t sector = 512;
constexpr std::uint32_t max_key_bytes = 512;
constexpr std::uint32_t slot_active = 0x00ac71f3;
constexpr std::uint32_t slot_free = 0x0000dead;
constexpr std::array<std::uint8_t, 6> luks_magic = {'L', 'U', 'K', 'S', 0xba, 0xbe};

Result<std::string> decode_text(ConstBytes field, std::string_view what) {
  const auto end = std::ranges::find(field, std::byte{0});
  if (end == field.end()) return fail(ErrorCode::corrupt, "LUKS header: the {} does not end", what);
  std::string text;
  std::transform(field.begin(), end, std::back_inserter(text), [](std::byte b) { return static_cast<char>(b); });
  return text;
}

Result<> split_mode(const std::string& text, LuksHeader& header) {
  const std::size_t dash = text.find('-');
  if (dash == std::string::npos) {
    return fail(ErrorCode::corrupt, "LUKS header: cipher mode '{}' names no IV generator", escape_untrusted(text));
  }
  const std::size_t colon = text.find(':', dash);
  header.mode = text.substr(0, dash);
  header.iv_generator = text.substr(dash + 1, colon == std::string::npos ? colon : colon - dash - 1);
  if (colon != std::string::npos) header.iv_generator_hash = text.substr(colon + 1);
  return {};
}

Result<LuksSlot> decode_slot(const std::byte* raw, std::size_t index) {
  const std::uint32_t state = load_be32(raw);
  if (state != slot_active && state != slot_free) {
    return fail(ErrorCode::corrupt, "LUKS key slot {}: unknown state {:#x}", index, state);
  }
  LuksSlot slot;
  slot.active = state == slot_active;
  slot.iterations = load_be32(raw + 4);
  slot.key_offset_bytes = load_be32(raw + 40) * sector;
  slot.stripes = load_be32(raw + 44);
  if (slot.stripes != luks_stripes) {
    return fail(ErrorCode::corrupt, "LUKS key slot {}: {} stripes, must be {}", index, slot.stripes, luks_stripes);
  }
  if (slot.active && slot.iterations == 0) return fail(ErrorCode::corrupt, "LUKS key slot {}: no iterations", index);
  return slot;
}

}  // namespace

Result<LuksHeader> decode_luks_header(ConstBytes area_start) {
  BYRE_ASSERT(area_start.size() >= luks_header_bytes);
  const std::byte* raw = area_start.data();
  if (std::memcmp(raw, luks_magic.data(), luks_magic.size()) != 0) return fail(ErrorCode::corrupt, "no LUKS header");
  if (load_be16(raw + 6) != 1) {
    return fail(ErrorCode::unsupported, "LUKS version {}: only version 1 is known", load_be16(raw + 6));
  }
  LuksHeader header;
  BYRE_TRY(header.cipher, decode_text(area_start.subspan(8, 32), "cipher name"));
  BYRE_TRY(const std::string mode, decode_text(area_start.subspan(40, 32), "cipher mode"));
  BYRE_CHECK(split_mode(mode, header));
  BYRE_TRY(header.hash, decode_text(area_start.subspan(72, 32), "hash name"));
  header.payload_offset_bytes = load_be32(raw + 104) * sector;
  header.key_bytes = load_be32(raw + 108);
  if (header.key_bytes == 0 || header.key_bytes > max_key_bytes) {
    return fail(ErrorCode::corrupt, "LUKS header: a master key of {} bytes", header.key_bytes);
  }
  header.iterations = load_be32(raw + 164);
  if (header.iterations == 0) return fail(ErrorCode::corrupt, "LUKS header: no iterations for the master key");
  BYRE_TRY(header.uuid, decode_text(area_start.subspan(168, 40), "UUID"));
  for (std::size_t i = 0; i < header.slots.size(); ++i) {
    BYRE_TRY(header.slots[i], decode_slot(raw + 208 + i * 48, i));
  }
  return header;
}

}  // namespace byre::format
