// Moves content within an image file, in steps that a crash may fall between (docs/ordering.md, compacting).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "byre/base/result.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"
#include "data/count_sweep.h"
#include "format/geometry.h"

namespace byre {

// What is changed at once. The pointers of a batch do not lie in what it moves.
class MoveBatch {
 public:
  explicit MoveBatch(const format::Geometry& geometry) : geometry_(geometry) {}

  // Content of that length gets `references` at its new place and loses them at the old one.
  void move(std::uint64_t from_bytes, std::uint64_t to_bytes, std::uint64_t length_bytes, std::uint64_t references);
  void drop(std::uint64_t from_bytes, std::uint64_t length_bytes, std::uint64_t references);
  void point(std::uint64_t place_bytes, std::uint64_t word) { patches_.push_back({place_bytes, word}); }

  bool empty() const { return patches_.empty(); }
  std::uint64_t bytes() const { return bytes_; }  // to copy

 private:
  friend class ClusterMover;
  struct Transfer {
    std::uint64_t from_bytes, to_bytes, length_bytes;
  };
  struct Patch {
    std::uint64_t place_bytes, word;
  };
  using References = std::map<std::uint64_t, std::uint64_t>;  // by cluster
  void count(References& references, std::uint64_t at_bytes, std::uint64_t length_bytes, std::uint64_t owners) const;

  format::Geometry geometry_;
  std::vector<Transfer> transfers_;
  std::vector<Patch> patches_;
  References claimed_, released_;
  std::uint64_t bytes_ = 0;
};

class ClusterMover {
 public:
  // `refcount_table` is in host byte order; a batch that moves refcount blocks has it changed by `relinked`.
  ClusterMover(Storage& storage, const format::Geometry& geometry, const std::vector<std::uint64_t>& refcount_table,
               bool punch)
      : storage_(storage), geometry_(geometry), sweep_(storage, geometry, refcount_table), punch_(punch) {}

  // Counts the new places and copies; then, durably, the pointers; then the old places are no longer counted, and
  // punched where nothing else counts them. `relinked` is called when the new pointers are durable. Returns the
  // clusters that are free now. Errors: I/O, no_space; exact() tells whether counts may be too high.
  Task<Result<std::vector<ClusterRun>>> run(MoveBatch batch, std::function<void()> relinked = {});
  bool exact() const { return exact_; }

 private:
  Task<Result<void>> prepare(const MoveBatch& batch, const std::vector<ClusterRun>& claimed);
  Task<Result<void>> copy(const std::vector<MoveBatch::Transfer>& transfers);
  Task<Result<void>> point(std::vector<MoveBatch::Patch> patches);

  Storage& storage_;
  const format::Geometry geometry_;
  CountSweep sweep_;
  const bool punch_;
  bool exact_ = true;
};

}  // namespace byre
