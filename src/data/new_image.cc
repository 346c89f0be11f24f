// A call decides its places before it waits for anything; a compressed one when its turn has come. What it has placed,
// tables that are complete by then included, is written by whoever comes next.
//
// Leaves out: backing files, whose content zeros would have to hide.

#include "data/new_image.h"

#include <algorithm>
#include <utility>

#include "base/math.h"
#include "base/text.h"
#include "byre/base/assert.h"
#include "data/payload.h"
#include "data/range.h"
#include "format/entry.h"

namespace byre {

NewImageDisk::NewImageDisk(Storage& storage, format::Header header, bool rising, const std::atomic<bool>* cancel)
    : storage_(storage),
      writer_(storage, std::move(header)),
      geometry_(writer_.geometry()),
      size_bytes_(writer_.header().virtual_size_bytes),
      rising_(rising),
      cancel_(cancel),
      l1_(geometry_.required_l1_entries(size_bytes_)) {}

Task<Result<void>> NewImageDisk::begin() { return writer_.begin(); }

Result<void> NewImageDisk::check_clusters(std::uint64_t offset_bytes, std::uint64_t length_bytes) const {
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  const bool to_the_end = offset_bytes + length_bytes == size_bytes_;
  if (offset_bytes % cluster_size == 0 && (length_bytes % cluster_size == 0 || to_the_end)) return {};
  return fail_in(storage_.name(), ErrorCode::invalid_argument, "{} bytes at {} are not whole clusters of {} bytes",
                 length_bytes, offset_bytes, cluster_size);
}

Result<void> NewImageDisk::place_table(std::uint64_t l1_index, const std::vector<std::uint64_t>& words) {
  BYRE_TRY(const HostOffset at, writer_.place_table(words, 1));
  if (at.bytes != 0) l1_[l1_index] = format::encode_l1_entry({at, true});
  return {};
}

// Those before it are complete if offsets rise.
Result<std::vector<std::uint64_t>*> NewImageDisk::table_for(std::uint64_t l1_index) {
  while (rising_ && !tables_.empty() && tables_.begin()->first < l1_index) {
    BYRE_CHECK(place_table(tables_.begin()->first, tables_.begin()->second));
    tables_.erase(tables_.begin());
  }
  BYRE_ASSERT(l1_[l1_index] == 0);
  std::vector<std::uint64_t>& words = tables_[l1_index];
  words.resize(geometry_.l2_entries());
  return &words;
}

Result<std::vector<NewImageDisk::Run>> NewImageDisk::place(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  std::vector<Run> runs;
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  while (length_bytes > 0) {
    const GuestOffset guest(offset_bytes);
    const std::uint64_t first = geometry_.l2_index(guest);
    BYRE_TRY(std::vector<std::uint64_t>* const words, table_for(geometry_.l1_index(guest)));
    const std::uint64_t count = std::min(
        {ceil_div(length_bytes, cluster_size), geometry_.l2_entries() - first, writer_.clusters_before_block()});
    BYRE_TRY(const HostOffset at, writer_.place(count, 1));
    for (std::uint64_t i = 0; i < count; ++i) {
      (*words)[first + i] = format::encode_l2_word(geometry_, format::L2Entry::normal(at + i * cluster_size, true));
    }
    const std::uint64_t length = std::min(length_bytes, count * cluster_size);
    runs.push_back({guest, at, length});
    length_bytes -= length;
    offset_bytes += length;
  }
  return runs;
}

// Each run to the end of its last cluster.
Task<Result<void>> NewImageDisk::write_runs(std::vector<Run> runs, ConstBytes data) {
  BYRE_CO_CHECK(co_await writer_.write_pending());
  for (const Run& run : runs) {
    const std::vector<std::byte> tail(round_up(run.length_bytes, geometry_.cluster_size_bytes()) - run.length_bytes);
    const ConstBytes parts[] = {data.subspan(run.guest - runs.front().guest, run.length_bytes), tail};
    const std::span<const ConstBytes> all = parts;
    BYRE_CO_CHECK(co_await storage_.write(run.at.bytes, all));
  }
  co_return Result<void>{};
}

Task<Result<void>> NewImageDisk::write(std::uint64_t offset_bytes, ConstBytes data) {
  BYRE_CO_CHECK(check_change(*this, offset_bytes, data.size()));
  BYRE_CO_CHECK(check_clusters(offset_bytes, data.size()));
  BYRE_CO_TRY(std::vector<Run> runs, place(offset_bytes, data.size()));
  co_return co_await write_runs(std::move(runs), data);
}

std::uint64_t NewImageDisk::clone_unit_bytes() const {
  const std::uint64_t block = storage_.clone_block_bytes();
  return block != 0 && geometry_.cluster_size_bytes() % block == 0 ? geometry_.cluster_size_bytes() : 0;
}

// Behind what has been written the file reads as zeros: what no piece covers needs nothing.
Task<Result<void>> NewImageDisk::clone(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                                       std::span<const ClonePiece> pieces) {
  BYRE_CO_CHECK(check_change(*this, offset_bytes, length_bytes));
  BYRE_CO_CHECK(check_clusters(offset_bytes, length_bytes));
  BYRE_CO_TRY(const std::vector<Run> runs, place(offset_bytes, length_bytes));
  BYRE_CO_CHECK(co_await writer_.write_pending());
  auto run = runs.begin();
  for (ClonePiece piece : pieces) {
    while (piece.length_bytes > 0) {
      while (piece.offset_bytes >= run->guest.bytes + run->length_bytes) ++run;
      BYRE_ASSERT(run != runs.end());
      const std::uint64_t inside = piece.offset_bytes - run->guest.bytes;
      const std::uint64_t length = std::min(piece.length_bytes, run->length_bytes - inside);
      BYRE_CO_CHECK(co_await storage_.clone(run->at.bytes + inside, *piece.source, piece.source_offset_bytes, length));
      piece.offset_bytes += length;
      piece.source_offset_bytes += length;
      piece.length_bytes -= length;
    }
  }
  co_return Result<void>{};
}

Result<std::vector<NewImageDisk::Run>> NewImageDisk::place_payload(std::uint64_t offset_bytes,
                                                                   std::uint64_t payload_bytes) {
  const GuestOffset guest(offset_bytes);
  BYRE_TRY(std::vector<std::uint64_t>* const words, table_for(geometry_.l1_index(guest)));
  BYRE_TRY(const HostOffset at, writer_.place_payload(payload_bytes, 1));
  const auto extent = format::make_compressed_extent(geometry_, at, payload_bytes);
  if (!extent) return fail(ErrorCode::no_space, "{}", format::describe(extent.error()));
  (*words)[geometry_.l2_index(guest)] = format::encode_l2_word(geometry_, format::L2Entry::from_compressed(*extent));
  return std::vector<Run>{{guest, at, payload_bytes}};
}

// An empty payload did not become smaller: the cluster is stored as it is.
Task<Result<void>> NewImageDisk::write_compressed(std::uint64_t offset_bytes, ConstBytes data) {
  BYRE_CO_CHECK(check_change(*this, offset_bytes, data.size()));
  BYRE_CO_CHECK(check_clusters(offset_bytes, data.size()));
  const std::uint64_t ticket = compressed_order_.take();
  const auto payload = co_await compress_in_worker(writer_.header().compression_type, compression_level(), data,
                                                   geometry_.cluster_size_bytes(), cancel_);
  co_await compressed_order_.wait_for(ticket);
  const bool plain = payload && payload->size_bytes == 0;
  Result<std::vector<Run>> placed;
  if (payload) placed = plain ? place(offset_bytes, data.size()) : place_payload(offset_bytes, payload->size_bytes);
  compressed_order_.pass();
  if (!payload) co_return std::unexpected(payload.error());
  BYRE_CO_TRY(std::vector<Run> runs, std::move(placed));
  if (plain) co_return co_await write_runs(std::move(runs), data);
  BYRE_CO_CHECK(co_await writer_.write_pending());
  co_return co_await write_bytes(storage_, runs.front().at.bytes, payload->bytes());
}

Task<Result<void>> NewImageDisk::flush() { co_return Result<void>{}; }

Task<Result<void>> NewImageDisk::close() {
  for (const auto& [l1_index, words] : std::exchange(tables_, {})) {
    BYRE_CO_CHECK(place_table(l1_index, words));
    BYRE_CO_CHECK(co_await writer_.write_pending());
  }
  ImageWriter::Tables tables;
  tables.size_bytes = size_bytes_;
  tables.l1 = std::move(l1_);
  co_return co_await writer_.finish(std::move(tables));
}

Error NewImageDisk::unsupported() const {
  return Error(ErrorCode::unsupported, "an image that is being made can only be written").in_file(storage_.name());
}

Task<Result<void>> NewImageDisk::read(std::uint64_t, Bytes) { co_return std::unexpected(unsupported()); }

Task<Result<void>> NewImageDisk::write_zeroes(std::uint64_t, std::uint64_t, ZeroMode) {
  co_return std::unexpected(unsupported());
}

Task<Result<void>> NewImageDisk::discard(std::uint64_t, std::uint64_t) { co_return std::unexpected(unsupported()); }

Task<Result<void>> NewImageDisk::resize(std::uint64_t, Preallocation) { co_return std::unexpected(unsupported()); }

Task<Result<BlockStatus>> NewImageDisk::status(std::uint64_t, std::uint64_t) {
  co_return std::unexpected(unsupported());
}

Task<Result<BlockStatus>> NewImageDisk::layer_status(std::uint64_t, std::uint64_t) {
  co_return std::unexpected(unsupported());
}

}  // namespace byre
