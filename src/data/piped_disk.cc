// A write takes its turn when it is called, and writes when everything before it has been written.

#include "data/piped_disk.h"

#include <algorithm>
#include <limits>

#include "byre/base/assert.h"
#include "format/refcount.h"

namespace byre {

namespace {
constexpr std::uint64_t zero_piece_bytes = 2 << 20;  // no cluster is larger
}

Task<Result<void>> PipedDisk::in_turn(std::uint64_t ticket, Task<Result<void>> work) {
  co_await order_.wait_for(ticket);
  Result<void> done;
  if (failed_) {
    done = std::unexpected(*failed_);
  } else {
    done = co_await work;
  }
  if (!done && !failed_) failed_ = done.error();
  order_.pass();
  co_return done;
}

Task<Result<void>> PipedRawDisk::write(std::uint64_t offset_bytes, ConstBytes data) {
  BYRE_CO_CHECK(check_change(*this, offset_bytes, data.size()));
  co_return co_await in_turn(take_turn(), write_bytes(storage(), offset_bytes, data));
}

Task<Result<void>> PipedRawDisk::resize(std::uint64_t size_bytes, Preallocation) {
  set_size(size_bytes);
  co_return Result<void>{};
}

void ClusterSizes::set(std::uint64_t cluster, std::uint64_t size_bytes) {
  std::vector<std::uint32_t>& table = tables_[cluster >> geometry_.l2_bits()];
  table.resize(geometry_.l2_entries());
  table[cluster & (geometry_.l2_entries() - 1)] = static_cast<std::uint32_t>(size_bytes);
}

std::uint64_t ClusterSizes::at(std::uint64_t cluster) const {
  const auto table = tables_.find(cluster >> geometry_.l2_bits());
  return table == tables_.end() ? 0 : table->second[cluster & (geometry_.l2_entries() - 1)];
}

std::optional<std::uint64_t> ClusterSizes::next(std::uint64_t cluster) const {
  for (auto table = tables_.lower_bound(cluster >> geometry_.l2_bits()); table != tables_.end(); ++table) {
    const std::uint64_t first = table->first << geometry_.l2_bits();
    for (std::uint64_t i = std::max(cluster, first) - first; i < table->second.size(); ++i) {
      if (table->second[i] != 0) return first + i;
    }
  }
  return std::nullopt;
}

DataPlacer::DataPlacer(const format::Geometry& geometry)
    : cluster_size_bytes_(geometry.cluster_size_bytes()),
      most_references_(std::min<std::uint64_t>(format::max_refcount(geometry.refcount_order),
                                               std::numeric_limits<std::uint32_t>::max())) {}

std::uint64_t DataPlacer::place(std::uint64_t size_bytes) {
  const std::uint64_t before = clusters();
  const bool inside = end_bytes_ % cluster_size_bytes_ != 0;
  const bool shares = inside && size_bytes < cluster_size_bytes_ && last_references_ < most_references_;
  const std::uint64_t begin = shares ? end_bytes_ : before * cluster_size_bytes_;
  end_bytes_ = begin + size_bytes;
  last_references_ = clusters() == before ? last_references_ + 1 : 1;
  return begin;
}

SizingDisk::SizingDisk(Storage& storage, const format::Header& header, ClusterSizes& sizes,
                       const std::atomic<bool>* cancel)
    : PipedDisk(storage, header.virtual_size_bytes),
      geometry_(header.geometry()),
      type_(header.compression_type),
      sizes_(sizes),
      cancel_(cancel) {}

Task<Result<void>> SizingDisk::write(std::uint64_t offset_bytes, ConstBytes data) {
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  for (std::uint64_t at = 0; at < data.size(); at += cluster_size) {
    sizes_.set((offset_bytes + at) >> geometry_.cluster_bits, cluster_size);
  }
  co_return Result<void>{};
}

Task<Result<void>> SizingDisk::write_compressed(std::uint64_t offset_bytes, ConstBytes data) {
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  BYRE_CO_TRY(const Payload payload,
              co_await compress_in_worker(type_, compression_level(), data, cluster_size, cancel_));
  sizes_.set(offset_bytes >> geometry_.cluster_bits, payload.size_bytes == 0 ? cluster_size : payload.size_bytes);
  co_return Result<void>{};
}

PipedImageDisk::PipedImageDisk(Storage& storage, const format::Header& header, const ClusterSizes& sizes,
                               const std::atomic<bool>* cancel)
    : PipedDisk(storage, header.virtual_size_bytes),
      geometry_(header.geometry()),
      type_(header.compression_type),
      sizes_(sizes),
      cancel_(cancel),
      placer_(geometry_),
      data_start_bytes_(storage.size_bytes()) {}

Error PipedImageDisk::changed(std::uint64_t cluster) {
  return Error(ErrorCode::io, fmt::format("the source has changed at offset {} since it was looked at: the stream, "
                                          "whose tables are written, cannot hold it",
                                          cluster << geometry_.cluster_bits))
      .in_file(storage().name());
}

// Zeros in front of it, if its place is not where the stream is.
Task<Result<void>> PipedImageDisk::put(std::uint64_t place_bytes, ConstBytes bytes) {
  const std::vector<std::byte> gap(data_start_bytes_ + place_bytes - storage().size_bytes());
  const ConstBytes parts[] = {gap, bytes};
  const std::span<const ConstBytes> all = parts;
  co_return co_await storage().write(storage().size_bytes(), all);
}

// Up to that cluster, what the tables have and nobody has written.
Task<Result<void>> PipedImageDisk::put_zeros(std::uint64_t end_cluster) {
  const std::uint64_t cluster_size = geometry_.cluster_size_bytes();
  Buffer zeros;
  for (auto at = sizes_.next(next_cluster_); at && *at < end_cluster; at = sizes_.next(next_cluster_)) {
    if (zeros.empty()) zeros = Buffer(zero_piece_bytes, Buffer::Fill::zero);
    std::uint64_t count = 0;
    while (*at + count < end_cluster && sizes_.at(*at + count) == cluster_size &&
           (count + 1) * cluster_size <= zero_piece_bytes) {
      ++count;
    }
    if (count == 0) co_return std::unexpected(changed(*at));
    if (cancel_ && cancel_->load()) co_return fail(ErrorCode::cancelled, "interrupted");
    const ConstBytes piece = zeros.bytes().first(count * cluster_size);
    const std::uint64_t place = placer_.place(cluster_size);
    for (std::uint64_t i = 1; i < count; ++i) placer_.place(cluster_size);
    BYRE_CO_CHECK(co_await put(place, piece));
    next_cluster_ = *at + count;
  }
  next_cluster_ = std::max(next_cluster_, end_cluster);
  co_return Result<void>{};
}

Task<Result<void>> PipedImageDisk::put_clusters(std::uint64_t offset_bytes, ConstBytes data) {
  const std::uint64_t first = offset_bytes >> geometry_.cluster_bits;
  const std::uint64_t count = geometry_.clusters_for(data.size());
  BYRE_ASSERT(first >= next_cluster_);
  BYRE_CO_CHECK(co_await put_zeros(first));
  std::uint64_t place = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    if (sizes_.at(first + i) != geometry_.cluster_size_bytes()) co_return std::unexpected(changed(first + i));
    const std::uint64_t here = placer_.place(geometry_.cluster_size_bytes());
    if (i == 0) place = here;
  }
  next_cluster_ = first + count;
  co_return co_await put(place, data);
}

Task<Result<void>> PipedImageDisk::put_payload(std::uint64_t cluster, ConstBytes payload) {
  BYRE_ASSERT(cluster >= next_cluster_);
  BYRE_CO_CHECK(co_await put_zeros(cluster));
  if (sizes_.at(cluster) != payload.size()) co_return std::unexpected(changed(cluster));
  const std::uint64_t place = placer_.place(payload.size());
  next_cluster_ = cluster + 1;
  co_return co_await put(place, payload);
}

Task<Result<void>> PipedImageDisk::write(std::uint64_t offset_bytes, ConstBytes data) {
  BYRE_CO_CHECK(check_change(*this, offset_bytes, data.size()));
  co_return co_await in_turn(take_turn(), put_clusters(offset_bytes, data));
}

Task<Result<void>> PipedImageDisk::put_compressed(std::uint64_t offset_bytes, ConstBytes data,
                                                  const Result<Payload>& payload) {
  if (!payload) co_return std::unexpected(payload.error());
  if (payload->size_bytes == 0) co_return co_await put_clusters(offset_bytes, data);
  const ConstBytes bytes = payload->bytes();
  co_return co_await put_payload(offset_bytes >> geometry_.cluster_bits, bytes);
}

Task<Result<void>> PipedImageDisk::write_compressed(std::uint64_t offset_bytes, ConstBytes data) {
  BYRE_CO_CHECK(check_change(*this, offset_bytes, data.size()));
  const std::uint64_t ticket = take_turn();
  const auto payload =
      co_await compress_in_worker(type_, compression_level(), data, geometry_.cluster_size_bytes(), cancel_);
  co_return co_await in_turn(ticket, put_compressed(offset_bytes, data, payload));
}

// The last cluster is filled up.
Task<Result<void>> PipedImageDisk::close() {
  BYRE_CO_CHECK(co_await put_zeros(geometry_.clusters_for(size_bytes())));
  const ConstBytes nothing;
  BYRE_CO_CHECK(co_await put(placer_.clusters() << geometry_.cluster_bits, nothing));
  co_return co_await storage().flush();
}

}  // namespace byre
