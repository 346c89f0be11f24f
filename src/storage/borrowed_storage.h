// A storage that belongs to somebody else, for an owner of storages; under a name of its own.
#pragma once

#include <string>
#include <utility>

#include "base/text.h"
#include "byre/storage/storage.h"

namespace byre {

// `lender` must outlive it.
class BorrowedStorage : public Storage {
 public:
  BorrowedStorage(Storage& lender, std::string name) : lender_(lender), name_(std::move(name)) {}

  Task<Result<std::size_t>> read(std::uint64_t offset_bytes, Bytes target) override {
    return lender_.read(offset_bytes, target);
  }
  Task<Result<void>> write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) override {
    return lender_.write(offset_bytes, parts);
  }
  Task<Result<void>> flush() override { return lender_.flush(); }
  Task<Result<void>> zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap) override {
    return lender_.zero(offset_bytes, length_bytes, may_unmap);
  }
  Task<Result<void>> punch(std::uint64_t offset_bytes, std::uint64_t length_bytes) override {
    return lender_.punch(offset_bytes, length_bytes);
  }
  Task<Result<void>> allocate(std::uint64_t offset_bytes, std::uint64_t length_bytes) override {
    return lender_.allocate(offset_bytes, length_bytes);
  }
  Task<Result<void>> resize(std::uint64_t size_bytes) override { return lender_.resize(size_bytes); }
  Task<Result<void>> extend(std::uint64_t size_bytes) override { return lender_.extend(size_bytes); }
  std::uint64_t size_bytes() const override { return lender_.size_bytes(); }
  Task<Result<StorageExtent>> extent_at(std::uint64_t offset_bytes) override { return lender_.extent_at(offset_bytes); }
  std::optional<std::uint64_t> allocated_bytes() const override { return lender_.allocated_bytes(); }
  std::uint64_t clone_block_bytes() const override { return lender_.clone_block_bytes(); }
  Task<Result<void>> clone(std::uint64_t offset_bytes, Storage& source, std::uint64_t source_offset_bytes,
                           std::uint64_t length_bytes) override {
    return lender_.clone(offset_bytes, source, source_offset_bytes, length_bytes);
  }
  void announce(AccessEvent event) override { lender_.announce(event); }
  BreakPoints* break_points() override { return lender_.break_points(); }
  bool has_directory() const override { return lender_.has_directory(); }
  bool writable() const override { return lender_.writable(); }
  StorageIdentity identity() const override { return lender_.identity(); }
  const std::string& name() const override { return name_; }

 protected:
  Storage& lender() const { return lender_; }
  // clone() of one that cannot have the lender do it.
  Task<Result<void>> refuse_clone(const Storage& source) const {
    co_return fail(ErrorCode::unsupported, "{}: cannot share blocks with {}", escape_untrusted(name_, 4096),
                   escape_untrusted(source.name(), 4096));
  }

 private:
  Storage& lender_;
  const std::string name_;
};

}  // namespace byre
