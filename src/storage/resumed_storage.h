// What was left unfinished, made once more from the start: reads as an empty storage that is then written, while only
// what differs from what the lender holds already goes there. In the end the lender holds what an empty one would,
// whatever it held before. For storages that are written much and read little.
#pragma once

#include "byre/storage/storage.h"
#include "byre/task/sync.h"
#include "storage/borrowed_storage.h"
#include "storage/range_set.h"

namespace byre {

class ResumedStorage final : public BorrowedStorage {
 public:
  // More ranges than that are not remembered for long.
  ResumedStorage(Storage& lender, std::string name, std::size_t most_ranges = 16384)
      : BorrowedStorage(lender, std::move(name)), most_ranges_(most_ranges) {}

  // Comes first. What the lender holds is no image from then on, until it has been made again.
  Task<Result<void>> begin();
  // Comes last, with no other call under way: takes away what the lender holds beside what was written.
  Task<Result<void>> finish();

  // That are remembered.
  std::size_t range_count() const { return settled_.count(); }

  Task<Result<std::size_t>> read(std::uint64_t offset_bytes, Bytes target) override;
  Task<Result<void>> write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) override;
  Task<Result<void>> zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap) override;
  Task<Result<void>> allocate(std::uint64_t offset_bytes, std::uint64_t length_bytes) override;
  Task<Result<void>> resize(std::uint64_t size_bytes) override;
  Task<Result<void>> extend(std::uint64_t size_bytes) override;
  std::uint64_t size_bytes() const override { return size_bytes_; }
  Task<Result<StorageExtent>> extent_at(std::uint64_t offset_bytes) override;
  Task<Result<void>> clone(std::uint64_t offset_bytes, Storage& source, std::uint64_t source_offset_bytes,
                           std::uint64_t length_bytes) override;

 private:
  Task<Result<void>> write_part(std::uint64_t offset_bytes, ConstBytes part);
  Task<Result<void>> write_differences(std::uint64_t offset_bytes, ConstBytes wanted, ConstBytes existing);
  Task<Result<void>> settle(std::uint64_t end_bytes);
  Task<Result<void>> settle_some();
  Task<Result<void>> settle_gap(std::uint64_t begin_bytes, std::uint64_t end_bytes);
  Task<Result<void>> wipe(std::uint64_t begin_bytes, std::uint64_t end_bytes);
  Task<Result<void>> wipe_data(std::uint64_t begin_bytes, std::uint64_t length_bytes);
  void note(std::uint64_t offset_bytes, std::uint64_t length_bytes);

  const std::size_t most_ranges_;
  std::uint64_t size_bytes_ = 0;
  RangeSet settled_;  // where the lender holds what this storage reads as; it reads as zeros elsewhere
  RangeLock locks_;
  bool settling_ = false;
  bool keeps_space_ = false;  // what was allocated stays so
};

}  // namespace byre
