// Storage that keeps nothing: writes are lost, reads give zeros or whatever. For tests and measurements.
#pragma once

#include <chrono>
#include <string>

#include "byre/storage/storage.h"

namespace byre {

struct NullStorageOptions {
  std::uint64_t size_bytes = 1 << 30;
  bool read_zeroes = false;             // else what is read is not zeros (the target is filled with something)
  std::chrono::nanoseconds latency{0};  // how long each call takes at least
  bool writable = true;
};

class NullStorage final : public Storage {
 public:
  NullStorage(NullStorageOptions options, std::string name) : options_(options), name_(std::move(name)) {}

  Task<Result<std::size_t>> read(std::uint64_t offset_bytes, Bytes target) override;
  Task<Result<void>> write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) override;
  Task<Result<void>> zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap) override;
  Task<Result<void>> flush() override;
  // Errors: unsupported, for any other size.
  Task<Result<void>> resize(std::uint64_t size_bytes) override;
  Task<Result<StorageExtent>> extent_at(std::uint64_t offset_bytes) override;
  std::uint64_t size_bytes() const override { return options_.size_bytes; }
  bool writable() const override { return options_.writable; }
  bool has_directory() const override { return false; }
  const std::string& name() const override { return name_; }

 private:
  Task<Result<void>> change(std::uint64_t offset_bytes, std::uint64_t length_bytes);
  Task<Result<void>> pass_time() const;

  const NullStorageOptions options_;
  const std::string name_;
};

}  // namespace byre
