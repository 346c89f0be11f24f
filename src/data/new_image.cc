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
#include "format/entry.h"
#include "format/limits.h"

namespace byre {

NewImageDisk::NewImageDisk(Storage& storage, format::Header header, bool rising, const std::atomic<bool>* cancel)
    : WriteOnlyDisk(storage, header.geometry(), header.virtual_size_bytes),
      writer_(storage, std::move(header)),
      rising_(rising),
      cancel_(cancel),
      l1_(geometry().required_l1_entries(writer_.header().virtual_size_bytes)) {}

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
  words.resize(geometry().l2_entries());
  return &words;
}

Result<std::vector<NewImageDisk::Run>> NewImageDisk::place(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  std::vector<Run> runs;
  const std::uint64_t cluster_size = geometry().cluster_size_bytes();
  while (length_bytes > 0) {
    const GuestOffset guest(offset_bytes);
    const std::uint64_t first = geometry().l2_index(guest);
    BYRE_TRY(std::vector<std::uint64_t>* const words, table_for(geometry().l1_index(guest)));
    const std::uint64_t count = std::min(
        {ceil_div(length_bytes, cluster_size), geometry().l2_entries() - first, writer_.clusters_before_block()});
    BYRE_TRY(const HostOffset at, writer_.place(count, 1));
    for (std::uint64_t i = 0; i < count; ++i) {
      (*words)[first + i] = format::encode_l2_word(geometry(), format::L2Entry::normal(at + i * cluster_size, true));
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
    const ConstBytes part = data.subspan(run.guest - runs.front().guest, run.length_bytes);
    BYRE_CO_CHECK(co_await write_filled_up(storage(), run.at.bytes, part, geometry().cluster_size_bytes()));
  }
  co_return Result<void>{};
}

Task<Result<void>> NewImageDisk::write(std::uint64_t offset_bytes, ConstBytes data) {
  BYRE_CO_CHECK(check_clusters(offset_bytes, data.size()));
  BYRE_CO_TRY(std::vector<Run> runs, place(offset_bytes, data.size()));
  co_return co_await write_runs(std::move(runs), data);
}

// Behind what has been written the file reads as zeros: what no piece covers needs nothing.
Task<Result<void>> NewImageDisk::clone(std::uint64_t offset_bytes, std::uint64_t length_bytes,
                                       std::span<const ClonePiece> pieces) {
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
      BYRE_CO_CHECK(co_await storage().clone(run->at.bytes + inside, *piece.source, piece.source_offset_bytes, length));
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
  BYRE_TRY(std::vector<std::uint64_t>* const words, table_for(geometry().l1_index(guest)));
  BYRE_TRY(const HostOffset at, writer_.place_payload(payload_bytes, 1));
  const auto extent = format::make_compressed_extent(geometry(), at, payload_bytes);
  if (!extent) return fail(ErrorCode::no_space, "{}", format::describe(extent.error()));
  (*words)[geometry().l2_index(guest)] = format::encode_l2_word(geometry(), format::L2Entry::from_compressed(*extent));
  return std::vector<Run>{{guest, at, payload_bytes}};
}

Task<Result<Payload>> NewImageDisk::compress(ConstBytes data, bool shareable) {
  return compress_in_worker(writer_.header().compression_type, compression_level(), data,
                            geometry().cluster_size_bytes(), cancel_,
                            shareable ? Incompressible::stored : Incompressible::stays);
}

// Whether the cluster got the payload of one that is known.
Result<bool> NewImageDisk::share_known(std::uint64_t offset_bytes, const ClusterDigest& digest) {
  const GuestOffset guest(offset_bytes);
  BYRE_TRY(std::vector<std::uint64_t>* const words, table_for(geometry().l1_index(guest)));
  const std::uint64_t word = sharing_->share(digest);
  (*words)[geometry().l2_index(guest)] = word;
  return word != 0;
}

// An empty payload did not become smaller: the cluster is stored as it is.
Result<std::vector<NewImageDisk::Run>> NewImageDisk::place_compressed(std::uint64_t offset_bytes,
                                                                      std::uint64_t length_bytes,
                                                                      std::uint64_t payload_bytes,
                                                                      const std::optional<ClusterDigest>& digest) {
  if (payload_bytes == 0) return place(offset_bytes, length_bytes);
  const bool kept = digest && sharing_->prepare(*digest);
  BYRE_TRY(std::vector<Run> runs, place_payload(offset_bytes, payload_bytes));
  const GuestOffset guest(offset_bytes);
  if (kept) sharing_->remember(*digest, tables_.at(geometry().l1_index(guest))[geometry().l2_index(guest)]);
  return runs;
}

// Places follow from the contents in their order alone: what is known before its turn has come is not compressed, and
// if it cannot be shared then, it is compressed during the turn.
Task<Result<void>> NewImageDisk::write_compressed(std::uint64_t offset_bytes, ConstBytes data) {
  BYRE_CO_CHECK(check_clusters(offset_bytes, data.size()));
  const std::uint64_t ticket = compressed_order_.take();
  std::optional<ClusterDigest> digest;
  if (sharing_) digest = co_await sharing_->digest_of(data);
  const bool known = digest && sharing_->knows(*digest);
  Result<Payload> payload;
  if (!known) payload = co_await compress(data, digest.has_value());
  co_await compressed_order_.wait_for(ticket);
  Result<bool> shared = false;
  if (payload && digest) shared = share_known(offset_bytes, *digest);
  const bool missing = known && shared && !*shared;
  if (missing) payload = co_await compress(data, true);
  Result<std::vector<Run>> placed;
  if (payload && shared && !*shared) {
    placed = place_compressed(offset_bytes, data.size(), payload->size_bytes, digest);
  }
  compressed_order_.pass();
  if (!payload) co_return std::unexpected(std::move(payload).error());
  BYRE_CO_CHECK(shared);
  BYRE_CO_TRY(std::vector<Run> runs, std::move(placed));
  if (runs.empty() || payload->size_bytes == 0) co_return co_await write_runs(std::move(runs), data);
  BYRE_CO_CHECK(co_await writer_.write_pending());
  co_return co_await write_bytes(storage(), runs.front().at.bytes, payload->bytes());
}

Task<Result<void>> NewImageDisk::close() {
  for (const auto& [l1_index, words] : std::exchange(tables_, {})) {
    BYRE_CO_CHECK(place_table(l1_index, words));
    BYRE_CO_CHECK(co_await writer_.write_pending());
  }
  ImageWriter::Tables tables;
  tables.size_bytes = size_bytes();
  tables.l1 = std::move(l1_);
  co_return co_await writer_.finish(std::move(tables));
}

Task<Result<void>> NewImageDisk::resize(std::uint64_t size_bytes, Preallocation preallocation) {
  if (preallocation != Preallocation::off) co_return co_await WriteOnlyDisk::resize(size_bytes, preallocation);
  const std::uint64_t entries = geometry().required_l1_entries(size_bytes);
  if (entries > format::max_l1_entries) {
    co_return fail_in(storage().name(), ErrorCode::unsupported,
                      "a disk of {} needs an L1 table of {}, above the limit of {}; use a larger cluster_size",
                      human_size(size_bytes), human_size(entries * 8), human_size(format::max_l1_bytes));
  }
  l1_.resize(entries);
  set_size_bytes(size_bytes);
  co_return Result<void>{};
}

}  // namespace byre
