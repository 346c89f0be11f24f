// The tree of digests that a checksum is the root of (docs/checksum.md). What is hashed, and how, is said here alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "ops/hash.h"

namespace byre::ops {

// The digests of blocks, nodes and roots by one hash function, and those of zeros. Threads may share it.
class DigestScheme {
 public:
  static constexpr std::uint64_t block_bytes = 64 << 10;
  static constexpr std::size_t node_children = 256;

  // Errors: those of Hash::load().
  static Result<DigestScheme> make(ChecksumAlgorithm algorithm);

  const Hash& hash() const { return hash_; }
  std::size_t digest_bytes() const { return hash_.digest_bytes(); }
  // Of a block (level 0), or of a node with blocks this many levels below it, all of zeros.
  ConstBytes zeros(std::size_t level) const { return zeros_[level]; }

  void hash_block(Hasher& hasher, ConstBytes block, Bytes digest) const;
  void hash_node(Hasher& hasher, ConstBytes children, Bytes digest) const;
  void hash_root(Hasher& hasher, std::uint64_t size_bytes, ConstBytes top, Bytes digest) const;

 private:
  explicit DigestScheme(const Hash& hash);

  Hash hash_;
  std::vector<std::vector<std::byte>> zeros_;  // by level
};

// Takes the digests of a disk's blocks from the first to the last, and keeps those that do not fill a node yet.
class DigestTree {
 public:
  // The scheme must outlive it.
  explicit DigestTree(const DigestScheme& scheme) : scheme_(scheme), hasher_(scheme.hash()) {}

  // How many blocks were added.
  std::uint64_t blocks() const { return blocks_; }
  // Of one or more blocks, one digest behind the other.
  void add(ConstBytes digests);
  // Blocks of zeros: any number of them costs a few hundred digests at most.
  void add_zeros(std::uint64_t count);
  // The checksum's digest, for a disk of this size; blocks that are not there yet are zeros.
  std::vector<std::byte> finish(std::uint64_t size_bytes);

 private:
  void push(std::size_t level, ConstBytes digest);
  void push_zeros(std::size_t level, std::uint64_t count);
  bool begun(std::size_t level) const { return level < levels_.size() && !levels_[level].empty(); }

  const DigestScheme& scheme_;
  Hasher hasher_;
  std::uint64_t blocks_ = 0;
  std::vector<std::vector<std::byte>> levels_;  // digests of blocks, of nodes above them, ... without a parent yet
};

}  // namespace byre::ops
