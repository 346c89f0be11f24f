// Storage in memory, sparse, for embedders and tests. Every call completes at once.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "byre/storage/storage.h"

namespace byre {

// Holds only the 64 KiB chunks that were written, so a size of many terabytes costs nothing.
class MemoryStorage final : public Storage {
 public:
  explicit MemoryStorage(std::uint64_t size_bytes = 0, std::string name = "memory");
  explicit MemoryStorage(ConstBytes content, std::string name = "memory");

  Task<Result<std::size_t>> read(std::uint64_t offset_bytes, Bytes target) override;
  Task<Result<void>> write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) override;
  Task<Result<void>> flush() override;
  Task<Result<void>> zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap) override;
  Task<Result<void>> punch(std::uint64_t offset_bytes, std::uint64_t length_bytes) override;
  Task<Result<void>> allocate(std::uint64_t offset_bytes, std::uint64_t length_bytes) override;
  Task<Result<void>> resize(std::uint64_t size_bytes) override;
  std::uint64_t size_bytes() const override { return size_bytes_; }
  Task<Result<StorageExtent>> extent_at(std::uint64_t offset_bytes) override;
  std::optional<std::uint64_t> allocated_bytes() const override;
  bool writable() const override { return writable_; }
  StorageIdentity identity() const override;
  const std::string& name() const override { return name_; }

  // A read-only storage refuses every change.
  void set_writable(bool writable) { writable_ = writable; }
  // Everything in one piece. The size must fit in memory.
  std::vector<std::byte> content() const;

 private:
  Result<void> check_change(std::uint64_t offset_bytes, std::uint64_t length_bytes) const;
  void copy_in(std::uint64_t offset_bytes, ConstBytes bytes);
  void clear(std::uint64_t offset_bytes, std::uint64_t length_bytes);

  std::uint64_t size_bytes_ = 0;
  bool writable_ = true;
  std::string name_;
  std::map<std::uint64_t, Buffer> chunks_;  // by index; bytes behind the size are zero
};

}  // namespace byre
