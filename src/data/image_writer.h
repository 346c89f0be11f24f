// Writes the file of a new image from front to back: clusters are handed out in the order of the file and counted as
// they are, and the header comes last. Until then the storage holds no image, so that nothing has an order to keep.
// Nothing is read back, and memory does not grow with the file but for its refcount table, and the counts that are
// kept.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "byre/base/units.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"
#include "format/header.h"
#include "format/snapshot_table.h"

namespace byre {

// Takes away what the storage holds, as the first step of a new image of such clusters.
Task<Result<void>> erase_image(Storage& storage, std::uint64_t cluster_bytes);
// The last step: what was written is durable before the header is, which makes it an image.
Task<Result<void>> write_header_last(Storage& storage, const format::Header& header);

class ImageWriter {
 public:
  // What `header` says of tables does not matter. The storage must outlive the writer.
  ImageWriter(Storage& storage, format::Header header);

  const format::Geometry& geometry() const { return geometry_; }
  // Its tables have no places before the end.
  const format::Header& header() const { return header_; }
  Storage& storage() { return storage_; }

  // Takes away what the storage holds.
  Task<Result<void>> begin() { return erase_image(storage_, geometry_.cluster_size_bytes()); }

  // The next clusters of the file; each has so many references (at least 1). The caller writes them. Errors:
  // unsupported (more than the refcount width can count), no_space (no entry can point so far).
  Result<HostOffset> place(std::uint64_t clusters, std::uint64_t references);
  // As many clusters are placed without a refcount block behind them. Who never asks for more at once gets the same
  // places however the calls are cut.
  std::uint64_t clusters_before_block() const { return geometry_.refcounts_per_block() + 1 - counts_.size(); }
  // Room for a payload, of less than two clusters and in no more than two, right behind the one before where nothing
  // else was placed since and its cluster can be counted once more.
  Result<HostOffset> place_payload(std::uint64_t payload_bytes, std::uint64_t references);
  // An L2 table in a cluster of its own, which write_pending() writes. A table of zeros needs none: 0.
  Result<HostOffset> place_table(const std::vector<std::uint64_t>& words, std::uint64_t references);

  // More references may come to the payload that is placed next: its counts stay in memory until the end.
  void keep_next_counts() { kept_end_ = cluster_count() + 2; }
  // One reference more to each cluster that these bytes lie in; their counts are kept. False, with nothing changed, if
  // one of them would have more than `most`, or than can be counted.
  bool add_reference(HostOffset at, std::uint64_t length_bytes, std::uint64_t most);

  // Tables and refcount blocks that were placed. Call it now and then.
  Task<Result<void>> write_pending();

  // Writes what is left: the active L1 table, the L1 tables of the snapshots (in their order, as stored), the snapshot
  // table, the counts, the header. Ends flushed.
  struct Tables {
    std::uint64_t size_bytes = 0;
    std::vector<std::uint64_t> l1;
    std::vector<format::Snapshot> snapshots;
    std::vector<std::vector<std::uint64_t>> snapshot_l1;
  };
  Task<Result<void>> finish(Tables tables);

 private:
  std::uint64_t cluster_count() const { return first_count_ + counts_.size(); }
  std::uint64_t most_references() const;
  Result<void> check_references(std::uint64_t references) const;
  std::uint64_t count_of(std::uint64_t cluster) const;
  void add_to_count(std::uint64_t cluster);
  void complete_blocks();
  void take_block(HostOffset at);
  Task<Result<HostOffset>> store(ConstBytes bytes);
  Task<Result<HostOffset>> store_l1(const std::vector<std::uint64_t>& l1);
  Task<Result<void>> store_counts();

  Storage& storage_;
  format::Header header_;
  const format::Geometry geometry_;
  std::vector<std::uint32_t> counts_{1};  // of the clusters that no refcount block has yet; first: the header
  std::uint64_t first_count_ = 0;         // the cluster that the first of them is for
  std::vector<HostOffset> blocks_;
  std::map<std::uint64_t, Buffer> kept_blocks_;  // blocks that may still change, by their number
  std::uint64_t kept_end_ = 0;                   // behind the last cluster whose count is kept
  std::vector<std::pair<HostOffset, Buffer>> pending_;
  std::uint64_t payload_end_bytes_ = 0;  // where the next payload can go on, inside the last cluster of the file
};

}  // namespace byre
