// A new qcow2 image in which every table and every cluster of the disk has the place that follows from the size of the
// disk and the offset in it, so that two versions of a disk make files that are equal wherever the disks are
// (docs/decisions/0019). What is not used is a hole.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "data/write_only_disk.h"
#include "format/header.h"
#include "ops/layout.h"

namespace byre::ops {

// Header, refcount table and blocks, L1 table and L2 tables have room for a full disk. The clusters of the disk, in its
// order, begin at a multiple of 4 MiB.
Layout plan_stable_layout(const format::Geometry& geometry, std::uint64_t virtual_size_bytes);

class StableImageDisk final : public WriteOnlyDisk {
 public:
  // `header` says what the image will be: no backing file, no snapshots. Its size has a layout within the limits
  // (check_layout()). The storage must outlive the disk.
  StableImageDisk(Storage& storage, format::Header header);

  Task<Result<void>> begin() override;
  Task<Result<void>> write(std::uint64_t offset_bytes, ConstBytes data) override;
  Task<Result<void>> clone(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                           std::span<const ClonePiece> pieces) override;
  Task<Result<void>> close() override;

 private:
  HostOffset host_of(std::uint64_t offset_bytes) const { return layout_.data_start() + offset_bytes; }
  void use(std::uint64_t offset_bytes, std::uint64_t length_bytes);
  void use_blocks(HostOffset first, std::uint64_t clusters);
  void use_blocks_of_all();
  bool is_used(std::uint64_t host_cluster) const;
  HostOffset data_end() const;
  Task<Result<void>> write_l1_and_l2_tables();
  Task<Result<void>> write_refcounts();
  Task<Result<void>> write_words(HostOffset at, const std::vector<std::uint64_t>& words, std::uint64_t clusters);

  format::Header header_;
  const Layout layout_;
  std::map<std::uint64_t, std::vector<bool>> used_;  // which clusters of the disk, by L1 index
  std::vector<bool> used_blocks_;                    // which refcount blocks
};

}  // namespace byre::ops
