// Bytes in memory that outlive the disk over them, and count what is read of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "byre/storage/storage.h"

namespace byre::test {

class CountingStorage final : public Storage {
 public:
  struct State {
    std::vector<std::byte> bytes;
    std::uint64_t read_bytes = 0;
  };
  explicit CountingStorage(std::shared_ptr<State> state) : state_(std::move(state)) {}

  Task<Result<std::size_t>> read(std::uint64_t offset_bytes, Bytes target) override {
    const std::vector<std::byte>& bytes = state_->bytes;
    const std::size_t count =
        offset_bytes < bytes.size() ? std::min<std::size_t>(target.size(), bytes.size() - offset_bytes) : 0;
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset_bytes), count, target.begin());
    state_->read_bytes += count;
    co_return count;
  }
  Task<Result<void>> write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) override {
    std::vector<std::byte>& bytes = state_->bytes;
    for (const ConstBytes part : parts) {
      bytes.resize(std::max<std::size_t>(bytes.size(), offset_bytes + part.size()));
      std::ranges::copy(part, bytes.begin() + static_cast<std::ptrdiff_t>(offset_bytes));
      offset_bytes += part.size();
    }
    co_return Result<void>{};
  }
  Task<Result<void>> flush() override { co_return Result<void>{}; }
  Task<Result<void>> resize(std::uint64_t size_bytes) override {
    state_->bytes.resize(size_bytes);
    co_return Result<void>{};
  }
  std::uint64_t size_bytes() const override { return state_->bytes.size(); }
  StorageIdentity identity() const override { return {0, reinterpret_cast<std::uintptr_t>(state_.get())}; }
  const std::string& name() const override { return name_; }

 private:
  std::shared_ptr<State> state_;
  std::string name_ = "counted";
};

}  // namespace byre::test
