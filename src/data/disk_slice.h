// A stretch of a disk as a disk of its own, to be read.
#pragma once

#include <algorithm>

#include "data/limited_disk.h"
#include "data/range.h"

namespace byre {

class DiskSlice final : public LimitedDisk {
 public:
  // The stretch lies inside the disk, which must outlive it and is closed by its owner.
  DiskSlice(Disk& disk, std::uint64_t offset_bytes, std::uint64_t size_bytes)
      : disk_(disk), offset_bytes_(offset_bytes), size_bytes_(size_bytes) {}

  std::uint64_t size_bytes() const override { return size_bytes_; }
  Task<Result<void>> read(std::uint64_t offset_bytes, Bytes target) override {
    BYRE_CO_CHECK(check_range(*this, offset_bytes, target.size()));
    co_return co_await disk_.read(offset_bytes_ + offset_bytes, target);
  }
  Task<Result<BlockStatus>> status(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) override {
    BYRE_CO_CHECK(check_range(*this, offset_bytes, 1));
    co_return co_await disk_.status(offset_bytes_ + offset_bytes,
                                    std::min(max_length_bytes, size_bytes_ - offset_bytes));
  }
  std::string_view format() const override { return disk_.format(); }
  bool writable() const override { return false; }
  Storage& storage() override { return disk_.storage(); }
  std::uint64_t cluster_size_bytes() const override { return disk_.cluster_size_bytes(); }

 private:
  Disk& disk_;
  const std::uint64_t offset_bytes_;
  const std::uint64_t size_bytes_;
};

}  // namespace byre
