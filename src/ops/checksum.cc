// A disk is one range of blocks: ops/block_hashing.h does the work. Here are the names and the text of checksums.
#include "byre/ops/checksum.h"

#include <algorithm>
#include <charconv>

#include "base/math.h"
#include "base/text.h"
#include "ops/block_hashing.h"

namespace byre {

namespace {

using ops::BlockHashing;
using ops::BlockRange;
using ops::DigestScheme;

constexpr ChecksumAlgorithm algorithms[] = {ChecksumAlgorithm::sha256, ChecksumAlgorithm::blake2b};

std::size_t digest_bytes(ChecksumAlgorithm algorithm) { return algorithm == ChecksumAlgorithm::sha256 ? 32 : 64; }

// Nothing if it is anything but hexadecimal digits.
std::optional<std::vector<std::byte>> parse_hex(std::string_view text) {
  std::vector<std::byte> bytes;
  for (; text.size() >= 2; text.remove_prefix(2)) {
    unsigned value = 0;
    const char* const digits = &text.front();
    const auto [end, error] = std::from_chars(digits, digits + 2, value, 16);
    if (error != std::errc() || end != digits + 2) return std::nullopt;
    bytes.push_back(static_cast<std::byte>(value));
  }
  if (!text.empty()) return std::nullopt;
  return bytes;
}

Task<Result<void>> add_disk(BlockHashing& hashing) {
  const BlockRange all{0, ceil_div(hashing.longest_bytes(), DigestScheme::block_bytes)};
  std::vector<std::size_t> receivers = {0};
  co_return co_await hashing.add(0, all, std::move(receivers));
}

}  // namespace

std::string_view checksum_name(ChecksumAlgorithm algorithm) {
  return algorithm == ChecksumAlgorithm::sha256 ? "byre1-sha256" : "byre1-blake2b";
}

std::string checksum_text(const Checksum& checksum) {
  std::string text = fmt::format("{}:", checksum_name(checksum.algorithm));
  for (const std::byte byte : checksum.digest) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return text;
}

Result<Checksum> parse_checksum(std::string_view text) {
  const std::size_t colon = std::min(text.find(':'), text.size());
  for (const ChecksumAlgorithm algorithm : algorithms) {
    if (text.substr(0, colon) != checksum_name(algorithm)) continue;
    auto digest = parse_hex(text.substr(std::min(colon + 1, text.size())));
    if (digest && digest->size() == digest_bytes(algorithm)) return Checksum{algorithm, *std::move(digest)};
  }
  return fail(ErrorCode::invalid_argument,
              "'{}' is no checksum: byre1-sha256: and 64 hexadecimal digits, or byre1-blake2b: and 128, are expected",
              escape_untrusted(text));
}

Task<Result<Checksum>> checksum_disk(Disk& disk, ChecksumOptions options) {
  BYRE_CO_TRY(const DigestScheme scheme, DigestScheme::make(options.algorithm));
  const std::vector<Disk*> disks = {&disk};
  BlockHashing hashing(scheme, disks, options);
  const Result<void> added = co_await add_disk(hashing);
  Result<std::vector<Checksum>> checksums = co_await hashing.finish();
  BYRE_CO_CHECK(added);
  BYRE_CO_CHECK(checksums);
  co_return std::move(checksums->front());
}

}  // namespace byre
