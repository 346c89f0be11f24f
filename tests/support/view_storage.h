// An image in memory as a storage that can only be read. Nothing is copied: a crash state is read several times.
#pragma once

#include <cstring>
#include <string>

#include "byre/storage/storage.h"

namespace byre::test {

// The bytes must outlive it.
class ViewStorage final : public Storage {
 public:
  explicit ViewStorage(ConstBytes bytes) : bytes_(bytes) {}

  Task<Result<std::size_t>> read(std::uint64_t offset_bytes, Bytes target) override {
    if (offset_bytes >= bytes_.size()) co_return std::size_t{0};
    const std::size_t count = std::min<std::size_t>(target.size(), bytes_.size() - offset_bytes);
    if (count > 0) std::memcpy(target.data(), bytes_.data() + offset_bytes, count);
    co_return count;
  }
  Task<Result<void>> write(std::uint64_t, std::span<const ConstBytes>) override { co_return refusal(); }
  Task<Result<void>> flush() override { co_return Result<void>{}; }
  Task<Result<void>> zero(std::uint64_t, std::uint64_t, bool) override { co_return refusal(); }
  Task<Result<void>> punch(std::uint64_t, std::uint64_t) override { co_return refusal(); }
  Task<Result<void>> allocate(std::uint64_t, std::uint64_t) override { co_return refusal(); }
  Task<Result<void>> resize(std::uint64_t) override { co_return refusal(); }
  std::uint64_t size_bytes() const override { return bytes_.size(); }
  Task<Result<StorageExtent>> extent_at(std::uint64_t offset_bytes) override {
    co_return StorageExtent{bytes_.size() - offset_bytes, true};
  }
  std::optional<std::uint64_t> allocated_bytes() const override { return std::nullopt; }
  bool writable() const override { return false; }
  StorageIdentity identity() const override { return {0, reinterpret_cast<std::uintptr_t>(this)}; }
  const std::string& name() const override { return name_; }

 private:
  static Result<void> refusal() { return std::unexpected(Error(ErrorCode::refused, "the image can only be read")); }

  const ConstBytes bytes_;
  const std::string name_ = "memory";
};

}  // namespace byre::test
