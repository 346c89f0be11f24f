// Driver blkdebug: another storage whose accesses fail by rules, or stop at break points.
#pragma once

#include <memory>

#include "byre/storage/break_points.h"
#include "storage/borrowed_storage.h"
#include "storage/debug_rules.h"

namespace byre {

class DebugStorage final : public BorrowedStorage {
 public:
  DebugStorage(std::unique_ptr<Storage> image, DebugRules rules)
      : BorrowedStorage(*image, image->name()), rules_(std::move(rules)), image_(std::move(image)) {
    rules_.pass(AccessEvent::none);
  }

  void announce(AccessEvent event) override {
    rules_.pass(event);
    break_points_.pass(event);
  }
  BreakPoints* break_points() override { return &break_points_; }

  Task<Result<std::size_t>> read(std::uint64_t offset_bytes, Bytes target) override;
  Task<Result<void>> write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) override;
  Task<Result<void>> zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap) override;
  Task<Result<void>> punch(std::uint64_t offset_bytes, std::uint64_t length_bytes) override;
  Task<Result<void>> flush() override;
  Task<Result<StorageExtent>> extent_at(std::uint64_t offset_bytes) override;
  // What is cloned would be neither read nor written here.
  std::uint64_t clone_block_bytes() const override { return 0; }
  Task<Result<void>> clone(std::uint64_t, Storage& source, std::uint64_t, std::uint64_t) override {
    return refuse_clone(source);
  }

 private:
  Task<Result<void>> before(AccessKind kind, std::uint64_t offset_bytes, std::uint64_t length_bytes);

  DebugRules rules_;
  BreakPoints break_points_;
  const std::unique_ptr<Storage> image_;
};

}  // namespace byre
