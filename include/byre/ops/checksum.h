// A checksum of what a disk reads as: the same one for every format, layout, compression and chain that holds this
// content, another one for other content or another size. docs/checksum.md defines it, so that others can compute it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "byre/base/result.h"
#include "byre/data/disk.h"
#include "byre/ops/info.h"

namespace byre {

enum class ChecksumAlgorithm {
  sha256,   // the faster one on processors with instructions for it
  blake2b,  // the faster one on others
};

struct Checksum {
  ChecksumAlgorithm algorithm = ChecksumAlgorithm::sha256;
  std::vector<std::byte> digest;  // 32 bytes of sha256, 64 of blake2b

  friend bool operator==(const Checksum&, const Checksum&) = default;
};

// "byre1-sha256" or "byre1-blake2b": the 1 is the version of the definition.
std::string_view checksum_name(ChecksumAlgorithm algorithm);

// "byre1-sha256:" and the digest in hexadecimal, lower case.
std::string checksum_text(const Checksum& checksum);
// Reads such a text, in either case. Errors: invalid_argument.
Result<Checksum> parse_checksum(std::string_view text);

struct ChecksumOptions {
  ChecksumAlgorithm algorithm = ChecksumAlgorithm::sha256;
  unsigned parallel_requests = 0;  // stretches of at most 2 MiB in flight, 1 to 16; 0: what keeps all processors busy
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress;  // may be empty
  const std::atomic<bool>* cancel = nullptr;  // ends the work (cancelled) when it becomes true
};

// Of the disk, with everything below it. What its status calls zeros is not read. Nothing may write meanwhile. Errors:
// unsupported (this system has no OpenSSL 3, or one without this hash), cancelled, those of the disk.
Task<Result<Checksum>> checksum_disk(Disk& disk, ChecksumOptions options);

struct StateChecksum {
  std::optional<SnapshotInfo> snapshot;  // none: the disk itself
  std::uint64_t size_bytes = 0;
  Checksum checksum;
};

// The same of the disk and of each internal snapshot of its image: the snapshots in the order of their table, then the
// disk. What several of them share is read and hashed once. The disk must be open read-only (invalid_argument).
Task<Result<std::vector<StateChecksum>>> checksum_states(Disk& disk, ChecksumOptions options);

}  // namespace byre
