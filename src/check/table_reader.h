// Reads many tables of one cluster each, in the order of their offsets: neighbours with one request, several requests
// in flight, each table once.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "byre/base/buffer.h"
#include "byre/base/result.h"
#include "byre/base/units.h"
#include "byre/storage/storage.h"
#include "byre/task/task.h"

namespace byre::check {

class TableReader {
 public:
  TableReader(Storage& storage, unsigned cluster_bits) : storage_(storage), cluster_bits_(cluster_bits) {}

  // Calls `take(i, bytes)` for each of `clusters` (host cluster numbers, rising) in order; bytes behind the end of the
  // file are zeros. `clusters` and what `take` uses must live until it returns. Error: I/O.
  using Take = std::function<void(std::size_t index, ConstBytes table)>;
  Task<Result<void>> read_each(const std::vector<std::uint64_t>& clusters, Take take);

 private:
  struct Batch;
  std::size_t run_length(const std::vector<std::uint64_t>& clusters, std::size_t begin) const;
  Task<Result<void>> fill(Batch& batch, std::uint64_t first_cluster);

  Storage& storage_;
  const unsigned cluster_bits_;
};

}  // namespace byre::check
