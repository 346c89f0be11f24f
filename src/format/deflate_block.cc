// Counts the symbols, makes codes for them, describes those (runs of equal lengths are one symbol of a third code), and
// compares what all of that takes with the fixed codes. Stored blocks are left out: a cluster that does not become
// smaller is not compressed at all.

#include "format/deflate_block.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "format/huffman.h"

namespace byre::format {
namespace {

constexpr unsigned longest_code_bits = 15;
constexpr unsigned longest_length_code_bits = 7;
constexpr std::size_t length_code_symbols = 19;
constexpr std::array<std::uint8_t, length_code_symbols> length_code_order = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                                                             11, 4,  12, 3, 13, 2, 14, 1, 15};
constexpr unsigned fixed_block = 1;
constexpr unsigned dynamic_block = 2;

struct Counts {
  std::array<std::uint32_t, literal_symbols> literals{};
  std::array<std::uint32_t, distance_symbols> distances{};
};

struct Codes {
  HuffmanCode literals;
  HuffmanCode distances;
};

// A symbol of the code that describes codes: a length, or a repetition of one.
struct LengthItem {
  std::uint8_t symbol;
  std::uint8_t extra;
  std::uint8_t extra_bits;
};

struct Description {
  std::size_t literal_count;
  std::size_t distance_count;
  std::vector<LengthItem> items;
  HuffmanCode code;
  std::size_t code_count;  // of the lengths of `code`, in their own order
};

Counts count_symbols(std::span<const DeflateToken> tokens) {
  Counts counts;
  for (const DeflateToken token : tokens) {
    if (token.length == 0) {
      ++counts.literals[token.value];
    } else {
      ++counts.literals[length_symbol(token.length).symbol];
      ++counts.distances[distance_symbol(token.value).symbol];
    }
  }
  counts.literals[end_of_block] = 1;
  return counts;
}

// Appends a run of one length. Zeros: 3 to 10 by symbol 17, 11 to 138 by 18; others: once, then 3 to 6 more by 16.
void append_run(std::vector<LengthItem>& items, std::uint8_t length, std::size_t count) {
  if (length != 0) {
    items.push_back({length, 0, 0});
    --count;
  }
  const std::size_t most = length == 0 ? 138 : 6;
  while (count >= 3) {
    const std::size_t now = std::min(count, most);
    if (length != 0) {
      items.push_back({16, static_cast<std::uint8_t>(now - 3), 2});
    } else if (now <= 10) {
      items.push_back({17, static_cast<std::uint8_t>(now - 3), 3});
    } else {
      items.push_back({18, static_cast<std::uint8_t>(now - 11), 7});
    }
    count -= now;
  }
  items.insert(items.end(), count, LengthItem{length, 0, 0});
}

std::size_t used_count(const HuffmanCode& code, std::size_t symbols, std::size_t least) {
  while (symbols > least && code.lengths[symbols - 1] == 0) --symbols;
  return symbols;
}

Description describe(const Codes& codes) {
  Description result;
  result.literal_count = used_count(codes.literals, literal_symbols, first_length_symbol);
  result.distance_count = used_count(codes.distances, distance_symbols, 1);
  std::vector<std::uint8_t> lengths(codes.literals.lengths.begin(),
                                    codes.literals.lengths.begin() + static_cast<std::ptrdiff_t>(result.literal_count));
  lengths.insert(lengths.end(), codes.distances.lengths.begin(),
                 codes.distances.lengths.begin() + static_cast<std::ptrdiff_t>(result.distance_count));
  for (std::size_t at = 0; at < lengths.size();) {
    std::size_t end = at;
    while (end < lengths.size() && lengths[end] == lengths[at]) ++end;
    append_run(result.items, lengths[at], end - at);
    at = end;
  }
  std::array<std::uint32_t, length_code_symbols> counts{};
  for (const LengthItem item : result.items) ++counts[item.symbol];
  result.code = HuffmanCode::for_counts(counts, longest_length_code_bits);
  result.code_count = length_code_symbols;
  while (result.code_count > 4 && result.code.lengths[length_code_order[result.code_count - 1]] == 0) {
    --result.code_count;
  }
  return result;
}

std::size_t bits_of(const Description& description) {
  std::size_t bits = 5 + 5 + 4 + 3 * description.code_count;
  for (const LengthItem item : description.items) {
    bits += std::size_t{description.code.lengths[item.symbol]} + item.extra_bits;
  }
  return bits;
}

// Without the extra bits, which all codes need alike.
std::size_t bits_of(const Counts& counts, const Codes& codes) {
  std::size_t bits = 0;
  for (std::size_t i = 0; i < literal_symbols; ++i) bits += counts.literals[i] * codes.literals.lengths[i];
  for (std::size_t i = 0; i < distance_symbols; ++i) bits += counts.distances[i] * codes.distances.lengths[i];
  return bits;
}

const Codes& fixed_codes() {
  static const Codes codes = [] {
    std::array<std::uint8_t, HuffmanCode::most_symbols> literals{};
    for (std::size_t i = 0; i < literals.size(); ++i) {
      literals[i] = static_cast<std::uint8_t>(i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8);
    }
    std::array<std::uint8_t, 32> distances{};
    distances.fill(5);
    return Codes{HuffmanCode::for_lengths(literals), HuffmanCode::for_lengths(distances)};
  }();
  return codes;
}

void write_description(BitWriter& writer, const Description& description) {
  writer.put(description.literal_count - first_length_symbol, 5);
  writer.put(description.distance_count - 1, 5);
  writer.put(description.code_count - 4, 4);
  for (std::size_t i = 0; i < description.code_count; ++i) {
    writer.put(description.code.lengths[length_code_order[i]], 3);
  }
  for (const LengthItem item : description.items) {
    writer.put(description.code.bits[item.symbol], description.code.lengths[item.symbol]);
    writer.put(item.extra, item.extra_bits);
  }
}

void write_tokens(BitWriter& writer, std::span<const DeflateToken> tokens, const Codes& codes) {
  const HuffmanCode& literals = codes.literals;
  const HuffmanCode& distances = codes.distances;
  for (const DeflateToken token : tokens) {
    if (token.length == 0) {
      writer.put(literals.bits[token.value], literals.lengths[token.value]);
      continue;
    }
    const DeflateSymbol length = length_symbol(token.length);
    const DeflateSymbol distance = distance_symbol(token.value);
    std::uint64_t bits = literals.bits[length.symbol];
    unsigned count = literals.lengths[length.symbol];
    const auto append = [&](std::uint64_t more, unsigned more_count) {
      bits |= more << count;
      count += more_count;
    };
    append(token.length - length.first, length.extra_bits);
    append(distances.bits[distance.symbol], distances.lengths[distance.symbol]);
    append(token.value - distance.first, distance.extra_bits);
    writer.put(bits, count);
  }
  writer.put(literals.bits[end_of_block], literals.lengths[end_of_block]);
}

}  // namespace

void BitWriter::put(std::uint64_t bits, unsigned count) {
  pending_ |= bits << pending_bits_;
  pending_bits_ += count;
  if (std::endian::native == std::endian::little && target_.size() - at_ >= sizeof pending_) {
    std::memcpy(target_.data() + at_, &pending_, sizeof pending_);
    at_ += pending_bits_ / 8;
    pending_ >>= pending_bits_ & ~7U;
    pending_bits_ &= 7U;
  } else {
    put_bytes();
  }
}

void BitWriter::put_bytes() {
  for (; pending_bits_ >= 8; pending_bits_ -= 8, pending_ >>= 8) {
    if (at_ == target_.size()) {
      overflowed_ = true;
    } else {
      target_[at_++] = static_cast<std::byte>(pending_ & 0xff);
    }
  }
}

std::size_t BitWriter::finish() {
  if (pending_bits_ > 0) pending_bits_ = 8;
  put_bytes();
  return overflowed_ ? 0 : at_;
}

void write_deflate_block(BitWriter& writer, std::span<const DeflateToken> tokens, bool last) {
  const Counts counts = count_symbols(tokens);
  const Codes codes{HuffmanCode::for_counts(counts.literals, longest_code_bits),
                    HuffmanCode::for_counts(counts.distances, longest_code_bits)};
  const Description description = describe(codes);
  const bool dynamic = bits_of(description) + bits_of(counts, codes) < bits_of(counts, fixed_codes());
  writer.put(last ? 1 : 0, 1);
  writer.put(dynamic ? dynamic_block : fixed_block, 2);
  if (dynamic) write_description(writer, description);
  write_tokens(writer, tokens, dynamic ? codes : fixed_codes());
}

}  // namespace byre::format
