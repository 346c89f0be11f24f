// A stretch of another storage as one of its own.
#pragma once

#include <memory>
#include <optional>

#include "storage/borrowed_storage.h"

namespace byre {

class WindowStorage final : public BorrowedStorage {
 public:
  // From `offset_bytes` on, `size_bytes` long; none: to the end, wherever that is, now and later. Lies in the storage.
  WindowStorage(std::unique_ptr<Storage> whole, std::uint64_t offset_bytes, std::optional<std::uint64_t> size_bytes)
      : BorrowedStorage(*whole, whole->name()),
        offset_bytes_(offset_bytes),
        fixed_size_bytes_(size_bytes),
        whole_(std::move(whole)) {}

  Task<Result<std::size_t>> read(std::uint64_t offset_bytes, Bytes target) override;
  Task<Result<void>> write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) override;
  Task<Result<void>> zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap) override;
  Task<Result<void>> punch(std::uint64_t offset_bytes, std::uint64_t length_bytes) override;
  Task<Result<void>> allocate(std::uint64_t offset_bytes, std::uint64_t length_bytes) override;
  // A window of a fixed size cannot be resized (unsupported).
  Task<Result<void>> resize(std::uint64_t size_bytes) override;
  Task<Result<void>> extend(std::uint64_t size_bytes) override;
  std::uint64_t size_bytes() const override;
  Task<Result<StorageExtent>> extent_at(std::uint64_t offset_bytes) override;
  std::optional<std::uint64_t> allocated_bytes() const override { return std::nullopt; }
  std::uint64_t clone_block_bytes() const override { return 0; }
  Task<Result<void>> clone(std::uint64_t, Storage& source, std::uint64_t, std::uint64_t) override {
    return refuse_clone(source);
  }

 private:
  Result<void> check(std::uint64_t offset_bytes, std::uint64_t length_bytes) const;

  const std::uint64_t offset_bytes_;
  const std::optional<std::uint64_t> fixed_size_bytes_;
  const std::unique_ptr<Storage> whole_;
};

}  // namespace byre
