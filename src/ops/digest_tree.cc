// A first byte says what is hashed, so that no block can pass for a node, and no node for a checksum. The tree is
// always full, with zeros behind the end of the disk; its height follows from the size, which is hashed with its top.
#include "ops/digest_tree.h"

#include <algorithm>
#include <array>

#include "base/endian.h"
#include "base/math.h"
#include "byre/base/assert.h"

namespace byre::ops {
namespace {

constexpr std::array block_tag = {std::byte{0}};
constexpr std::array node_tag = {std::byte{1}};
constexpr std::array root_tag = {std::byte{2}};
constexpr std::size_t levels_of_largest_disk = 7;  // 2^63 bytes are fewer than 256^6 blocks

}  // namespace

DigestScheme::DigestScheme(const Hash& hash) : hash_(hash) {
  Hasher hasher(hash_);
  const Buffer zero_block(block_bytes, Buffer::Fill::zero);
  std::vector<std::byte> digest(digest_bytes());
  hasher.run({block_tag, zero_block.bytes()}, digest);
  zeros_.push_back(digest);
  while (zeros_.size() < levels_of_largest_disk) {
    std::vector<std::byte> children;
    for (std::size_t i = 0; i < node_children; ++i) children.insert(children.end(), digest.begin(), digest.end());
    hash_node(hasher, children, digest);
    zeros_.push_back(digest);
  }
}

Result<DigestScheme> DigestScheme::make(ChecksumAlgorithm algorithm) {
  BYRE_TRY(const Hash hash, Hash::load(algorithm));
  return DigestScheme(hash);
}

void DigestScheme::hash_block(Hasher& hasher, ConstBytes block, Bytes digest) const {
  BYRE_ASSERT(block.size() == block_bytes);
  if (is_all_zero(block)) {
    std::ranges::copy(zeros(0), digest.begin());
  } else {
    hasher.run({block_tag, block}, digest);
  }
}

void DigestScheme::hash_node(Hasher& hasher, ConstBytes children, Bytes digest) const {
  BYRE_ASSERT(children.size() == node_children * digest_bytes());
  hasher.run({node_tag, children}, digest);
}

void DigestScheme::hash_root(Hasher& hasher, std::uint64_t size_bytes, ConstBytes top, Bytes digest) const {
  std::array<std::byte, 8> size;
  store_be64(size.data(), size_bytes);
  hasher.run({root_tag, size, top}, digest);
}

void DigestTree::push(std::size_t level, ConstBytes digest) {
  if (levels_.size() <= level) levels_.resize(level + 1);
  std::vector<std::byte>& children = levels_[level];
  children.insert(children.end(), digest.begin(), digest.end());
  if (children.size() < DigestScheme::node_children * scheme_.digest_bytes()) return;
  std::vector<std::byte> node(scheme_.digest_bytes());
  scheme_.hash_node(hasher_, children, node);
  children.clear();
  push(level + 1, node);
}

void DigestTree::push_zeros(std::size_t level, std::uint64_t count) {
  for (; count > 0 && begun(level); --count) push(level, scheme_.zeros(level));
  if (count >= DigestScheme::node_children) push_zeros(level + 1, count / DigestScheme::node_children);
  for (count %= DigestScheme::node_children; count > 0; --count) push(level, scheme_.zeros(level));
}

void DigestTree::add(ConstBytes digests) {
  BYRE_ASSERT(digests.size() % scheme_.digest_bytes() == 0);
  for (; !digests.empty(); digests = digests.subspan(scheme_.digest_bytes())) {
    push(0, digests.first(scheme_.digest_bytes()));
    ++blocks_;
  }
}

void DigestTree::add_zeros(std::uint64_t count) {
  push_zeros(0, count);
  blocks_ += count;
}

std::vector<std::byte> DigestTree::finish(std::uint64_t size_bytes) {
  const std::uint64_t blocks = ceil_div(size_bytes, DigestScheme::block_bytes);
  BYRE_ASSERT(blocks_ <= blocks);
  std::size_t top = 0;
  std::uint64_t capacity = 1;
  for (; capacity < blocks; ++top) capacity *= DigestScheme::node_children;
  add_zeros(capacity - blocks_);
  std::vector<std::byte> digest(scheme_.digest_bytes());
  scheme_.hash_root(hasher_, size_bytes, levels_[top], digest);
  return digest;
}

}  // namespace byre::ops
