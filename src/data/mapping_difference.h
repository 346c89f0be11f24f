// Where two L1 tables of one image lead to different places. What they share is told from the tables alone: an L2 table
// that both name is not even read.
#pragma once

#include <cstdint>
#include <vector>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"
#include "format/geometry.h"

namespace byre {

struct GuestRange {
  std::uint64_t offset_bytes;
  std::uint64_t length_bytes;

  std::uint64_t end_bytes() const { return offset_bytes + length_bytes; }
  friend bool operator==(const GuestRange&, const GuestRange&) = default;
};

class MappingDifference {
 public:
  // Of the guest bytes below `end_bytes`. The tables are in host byte order; they and the storage must outlive this,
  // and stand still.
  MappingDifference(Storage& storage, const format::Geometry& geometry, const std::vector<std::uint64_t>& first,
                    const std::vector<std::uint64_t>& second, std::uint64_t end_bytes);

  bool done() const { return next_index_ == l1_entries_; }
  // Further ranges, rising; perhaps none. What is in no range reads the same through both tables. Errors: corrupt (an
  // L1 entry that cannot be followed), I/O.
  Task<Result<std::vector<GuestRange>>> next();

 private:
  struct Pair {
    std::uint64_t l1_index;
    HostOffset first;  // 0: no table
    HostOffset second;
  };
  Result<void> choose_pairs();
  Task<Result<void>> load();
  void compare(const Pair& pair, const std::byte* first, const std::byte* second,
               std::vector<GuestRange>& ranges) const;

  Storage& storage_;
  const format::Geometry geometry_;
  const std::vector<std::uint64_t>& first_;
  const std::vector<std::uint64_t>& second_;
  const std::uint64_t end_bytes_;
  const std::uint64_t l1_entries_;
  std::uint64_t next_index_ = 0;
  std::vector<Pair> pairs_;
  Buffer buffer_{0};
};

}  // namespace byre
