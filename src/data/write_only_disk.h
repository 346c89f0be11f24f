// What images that are being made have in common: a disk that can only be written, each cluster once and whole, and
// that is an image when it has been closed.
#pragma once

#include "data/limited_disk.h"
#include "format/geometry.h"

namespace byre {

class WriteOnlyDisk : public LimitedDisk {
 public:
  // Comes first: what the storage holds is lost.
  virtual Task<Result<void>> begin() = 0;

  // Writes tables, counts and header, and ends flushed. Without it there is no image.
  Task<Result<void>> close() override = 0;

  // Whole clusters that were not written yet; the last one of the disk may be shorter.
  Task<Result<void>> write(std::uint64_t offset_bytes, ConstBytes data) override = 0;
  std::uint64_t clone_unit_bytes() const override;

  std::uint64_t size_bytes() const override { return size_bytes_; }
  std::string_view format() const override { return "qcow2"; }
  bool writable() const override { return true; }
  Storage& storage() override { return storage_; }
  std::uint64_t cluster_size_bytes() const override { return geometry_.cluster_size_bytes(); }

 protected:
  // The storage must outlive the disk.
  WriteOnlyDisk(Storage& storage, const format::Geometry& geometry, std::uint64_t size_bytes)
      : storage_(storage), geometry_(geometry), size_bytes_(size_bytes) {}

  const format::Geometry& geometry() const { return geometry_; }
  void set_size_bytes(std::uint64_t size_bytes) { size_bytes_ = size_bytes; }
  // Inside the disk, and whole clusters. Errors: invalid_argument.
  Result<void> check_clusters(std::uint64_t offset_bytes, std::uint64_t length_bytes) const;

 private:
  Storage& storage_;
  const format::Geometry geometry_;
  std::uint64_t size_bytes_;
};

}  // namespace byre
