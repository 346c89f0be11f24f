// What a disk shows, as bytes: for a format inside another one. To be read only.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>

#include "base/text.h"
#include "byre/data/disk.h"

namespace byre::ops {

class DiskStorage final : public Storage {
 public:
  // The disk is read-only. Nothing has to be waited for at its end.
  explicit DiskStorage(std::unique_ptr<Disk> disk) : disk_(std::move(disk)) {}

  Task<Result<std::size_t>> read(std::uint64_t offset_bytes, Bytes target) override {
    if (offset_bytes >= size_bytes()) co_return std::size_t{0};
    const Bytes part = target.first(std::min<std::uint64_t>(target.size(), size_bytes() - offset_bytes));
    BYRE_CO_CHECK(co_await disk_->read(offset_bytes, part));
    co_return part.size();
  }
  Task<Result<void>> write(std::uint64_t, std::span<const ConstBytes>) override { return refuse(); }
  Task<Result<void>> flush() override { co_return Result<void>(); }
  Task<Result<void>> resize(std::uint64_t) override { return refuse(); }
  std::uint64_t size_bytes() const override { return disk_->size_bytes(); }
  Task<Result<StorageExtent>> extent_at(std::uint64_t offset_bytes) override {
    const std::uint64_t left = size_bytes() - offset_bytes;
    BYRE_CO_TRY(const BlockStatus status, co_await disk_->status(offset_bytes, left));
    const StorageExtent extent{status.length_bytes, !status.zero};
    co_return extent;
  }
  bool writable() const override { return false; }
  bool has_directory() const override { return disk_->storage().has_directory(); }
  StorageIdentity identity() const override { return disk_->storage().identity(); }
  const std::string& name() const override { return disk_->storage().name(); }

 private:
  Task<Result<void>> refuse() {
    co_return fail_in(name(), ErrorCode::refused, "an image inside another one is read-only");
  }

  const std::unique_ptr<Disk> disk_;
};

}  // namespace byre::ops
