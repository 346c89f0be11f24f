// A qcow2 image that is being made, as a disk that can only be written: each cluster once, and the image is there when
// it has been closed. Places are given in the order of the calls, so that equal calls make equal files, whatever else
// happens meanwhile.
#pragma once

#include <atomic>
#include <map>
#include <optional>
#include <vector>

#include "byre/task/sync.h"
#include "data/cluster_sharing.h"
#include "data/image_writer.h"
#include "data/payload.h"
#include "data/write_only_disk.h"

namespace byre {

class NewImageDisk final : public WriteOnlyDisk {
 public:
  // `header` says what the image will be: no backing file, no snapshots. With `rising` the calls come in the order of
  // offsets, and tables are written as soon as they are complete; otherwise they are kept until the end. The storage
  // must outlive the disk. Compressed writes end (cancelled) once `cancel` (may be null) is true.
  NewImageDisk(Storage& storage, format::Header header, bool rising, const std::atomic<bool>* cancel = nullptr);

  // Equal clusters that are written compressed from now on are stored once, but for a last one that is shorter. Then
  // those that do not become smaller are payloads, too.
  void share(SharingRules rules) { sharing_.emplace(writer_, std::move(rules)); }

  Task<Result<void>> begin() override { return writer_.begin(); }
  Task<Result<void>> write(std::uint64_t offset_bytes, ConstBytes data) override;
  Task<Result<void>> write_compressed(std::uint64_t offset_bytes, ConstBytes data) override;
  Task<Result<void>> clone(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                           std::span<const ClonePiece> pieces) override;
  Task<Result<void>> close() override;

  // The size alone changes, before the image is closed; what was written must lie inside. Writes may be under way.
  Task<Result<void>> resize(std::uint64_t size_bytes, Preallocation preallocation) override;

 private:
  // Consecutive clusters of the disk that are consecutive in the file.
  struct Run {
    GuestOffset guest;
    HostOffset at;
    std::uint64_t length_bytes;
  };

  Result<std::vector<Run>> place(std::uint64_t offset_bytes, std::uint64_t length_bytes);
  Result<std::vector<Run>> place_payload(std::uint64_t offset_bytes, std::uint64_t payload_bytes);
  Result<std::vector<std::uint64_t>*> table_for(std::uint64_t l1_index);
  Result<void> place_table(std::uint64_t l1_index, const std::vector<std::uint64_t>& words);
  Result<bool> share_known(std::uint64_t offset_bytes, const ClusterDigest& digest);
  Result<std::vector<Run>> place_compressed(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                                            std::uint64_t payload_bytes, const std::optional<ClusterDigest>& digest);
  Task<Result<Payload>> compress(ConstBytes data, bool shareable);
  Task<Result<void>> write_runs(std::vector<Run> runs, ConstBytes data);

  ImageWriter writer_;
  std::optional<ClusterSharing> sharing_;
  const bool rising_;
  const std::atomic<bool>* const cancel_;
  std::vector<std::uint64_t> l1_;
  std::map<std::uint64_t, std::vector<std::uint64_t>> tables_;  // that may get more entries, by L1 index
  Turnstile compressed_order_;
};

}  // namespace byre
