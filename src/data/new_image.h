// A qcow2 image that is being made, as a disk that can only be written: each cluster once, and the image is there when
// it has been closed. Places are given in the order of the calls, so that equal calls make equal files, whatever else
// happens meanwhile.
#pragma once

#include <atomic>
#include <map>
#include <vector>

#include "byre/data/disk.h"
#include "byre/task/sync.h"
#include "data/image_writer.h"

namespace byre {

class NewImageDisk final : public Disk {
 public:
  // `header` says what the image will be: no backing file, no snapshots. With `rising` the calls come in the order of
  // offsets, and tables are written as soon as they are complete; otherwise they are kept until the end. The storage
  // must outlive the disk. Compressed writes end (cancelled) once `cancel` (may be null) is true.
  NewImageDisk(Storage& storage, format::Header header, bool rising, const std::atomic<bool>* cancel = nullptr);

  // Comes first: what the storage holds is lost.
  Task<Result<void>> begin();

  std::uint64_t size_bytes() const override { return size_bytes_; }
  // Whole clusters that were not written yet; the last one of the disk may be shorter.
  Task<Result<void>> write(std::uint64_t offset_bytes, ConstBytes data) override;
  Task<Result<void>> write_compressed(std::uint64_t offset_bytes, ConstBytes data) override;
  std::uint64_t clone_unit_bytes() const override;
  Task<Result<void>> clone(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                           std::span<const ClonePiece> pieces) override;
  Task<Result<void>> flush() override;  // nothing is there yet that could be durable
  // Writes tables, counts and header, and ends flushed. Without it there is no image.
  Task<Result<void>> close() override;

  // All others: unsupported.
  Task<Result<void>> read(std::uint64_t offset_bytes, Bytes target) override;
  Task<Result<void>> write_zeroes(std::uint64_t offset_bytes, std::uint64_t length_bytes, ZeroMode mode) override;
  Task<Result<void>> discard(std::uint64_t offset_bytes, std::uint64_t length_bytes) override;
  Task<Result<void>> resize(std::uint64_t size_bytes, Preallocation preallocation) override;
  Task<Result<BlockStatus>> status(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) override;
  Task<Result<BlockStatus>> layer_status(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) override;

  std::string_view format() const override { return "qcow2"; }
  bool writable() const override { return true; }
  Storage& storage() override { return storage_; }
  Disk* backing() override { return nullptr; }
  std::uint64_t cluster_size_bytes() const override { return geometry_.cluster_size_bytes(); }

 private:
  // Consecutive clusters of the disk that are consecutive in the file.
  struct Run {
    GuestOffset guest;
    HostOffset at;
    std::uint64_t length_bytes;
  };

  Result<void> check_clusters(std::uint64_t offset_bytes, std::uint64_t length_bytes) const;
  Result<std::vector<Run>> place(std::uint64_t offset_bytes, std::uint64_t length_bytes);
  Result<std::vector<Run>> place_payload(std::uint64_t offset_bytes, std::uint64_t payload_bytes);
  Result<std::vector<std::uint64_t>*> table_for(std::uint64_t l1_index);
  Result<void> place_table(std::uint64_t l1_index, const std::vector<std::uint64_t>& words);
  Task<Result<void>> write_runs(std::vector<Run> runs, ConstBytes data);
  Error unsupported() const;

  Storage& storage_;
  ImageWriter writer_;
  const format::Geometry geometry_;
  const std::uint64_t size_bytes_;
  const bool rising_;
  const std::atomic<bool>* const cancel_;
  std::vector<std::uint64_t> l1_;
  std::map<std::uint64_t, std::vector<std::uint64_t>> tables_;  // that may get more entries, by L1 index
  Turnstile compressed_order_;
};

}  // namespace byre
