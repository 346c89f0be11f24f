// A disk whose bytes are the storage's bytes. A size that is no multiple of 512 is rounded up, the rest reads as zeros.
#pragma once

#include <memory>

#include "byre/data/disk.h"

namespace byre {

// Makes a range at the end of a storage read as zeros, reserved as `preallocation` says (docs/format.md section 18).
Task<Result<void>> extend_with_zeros(Storage& storage, std::uint64_t offset_bytes, std::uint64_t length_bytes,
                                     Preallocation preallocation);

class RawDisk final : public Disk {
 public:
  struct Options {
    bool writable = false;
    bool discard = true;
    DetectZeroes detect_zeroes = DetectZeroes::off;
  };
  RawDisk(std::unique_ptr<Storage> storage, Options options);

  std::uint64_t size_bytes() const override { return size_bytes_; }
  Task<Result<void>> read(std::uint64_t offset_bytes, Bytes target) override;
  Task<Result<void>> write(std::uint64_t offset_bytes, ConstBytes data) override;
  Task<Result<void>> write_zeroes(std::uint64_t offset_bytes, std::uint64_t length_bytes, ZeroMode mode) override;
  Task<Result<void>> discard(std::uint64_t offset_bytes, std::uint64_t length_bytes) override;
  Task<Result<void>> write_compressed(std::uint64_t offset_bytes, ConstBytes data) override;
  std::uint64_t clone_unit_bytes() const override { return storage_->clone_block_bytes(); }
  Task<Result<void>> clone(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                           std::span<const ClonePiece> pieces) override;
  Task<Result<void>> flush() override { return storage_->flush(); }
  Task<Result<void>> resize(std::uint64_t size_bytes, Preallocation preallocation) override;
  Task<Result<BlockStatus>> status(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) override;
  Task<Result<BlockStatus>> layer_status(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) override;
  Task<Result<void>> close() override;
  std::string_view format() const override { return "raw"; }
  bool writable() const override { return options_.writable; }
  Storage& storage() override { return *storage_; }
  Disk* backing() override { return nullptr; }
  std::uint64_t cluster_size_bytes() const override { return 0; }

 private:
  std::unique_ptr<Storage> storage_;
  std::uint64_t size_bytes_;
  const Options options_;
};

}  // namespace byre
