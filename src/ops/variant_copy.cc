// A window is a run of neighbours on one disk. It is read whole, its zeros are found and its clusters compressed; then
// it waits for its turn, takes its places, and writes while others are read. A window whose bytes can be shared is not
// read at all.

#include "ops/variant_copy.h"

#include <algorithm>
#include <cstring>

#include "base/math.h"
#include "base/text.h"
#include "data/payload.h"
#include "format/entry.h"

namespace byre::ops {
namespace {

constexpr std::uint64_t least_window_bytes = 1 << 20;

}  // namespace

// One cluster of a window.
struct VariantCopy::Content {
  ConstBytes cluster;
  bool zero = false;
  Payload payload;  // of no bytes: stored as it is
  HostOffset at;

  ConstBytes stored() const { return payload.size_bytes > 0 ? payload.bytes() : cluster; }
};

VariantCopy::VariantCopy(ImageWriter& writer, const CopyOptions& options)
    : writer_(writer),
      options_(options),
      cluster_bytes_(writer.geometry().cluster_size_bytes()),
      window_bytes_(std::max(least_window_bytes, cluster_bytes_)),
      buffers_(window_bytes_) {}

bool VariantCopy::goes_on(const ClusterCopy& cluster) const {
  if (window_.empty() || window_.back().disk != cluster.disk ||
      window_.back().range.offset_bytes + cluster_bytes_ != cluster.range.offset_bytes) {
    return false;
  }
  const ClonePiece& last = window_.back().clone;
  const bool shared = cluster.clone.length_bytes > 0;
  if (shared ? !continues(last, cluster.clone) : last.length_bytes > 0) return false;
  return (window_.size() + 1) * cluster_bytes_ <= (shared ? most_clone_bytes : window_bytes_);
}

Task<void> VariantCopy::add(ClusterCopy cluster) {
  if (!goes_on(cluster)) co_await start_window();
  window_.push_back(cluster);
}

Task<void> VariantCopy::start_window() {
  if (window_.empty() || group_.failed()) co_return;
  co_await group_.wait_below(std::max(options_.parallel_requests, 1u) - 1);
  const bool shared = window_.front().clone.length_bytes > 0;
  Window window = std::exchange(window_, {});
  const std::uint64_t ticket = turnstile_.take();
  group_.start(shared ? clone_window(std::move(window), ticket) : copy_window(std::move(window), ticket));
}

Task<Result<void>> VariantCopy::finish() {
  co_await start_window();
  co_return co_await group_.join();
}

Task<Result<void>> VariantCopy::load(const Window& window, Bytes content) {
  const std::uint64_t begin = window.front().range.offset_bytes;
  const std::uint64_t length = window.back().range.end_bytes() - begin;
  const Bytes there = content.first(length);
  std::memset(content.data() + length, 0, content.size() - length);
  Qcow2Disk& disk = *window.front().disk;
  if (window.front().vm_state) co_return co_await disk.read_vm_state(begin, there);
  co_return co_await disk.read(begin, there);
}

Task<Result<void>> VariantCopy::compress_one(Content& content) {
  BYRE_CO_TRY(content.payload,
              co_await compress_in_worker(writer_.header().compression_type, options_.compression_level,
                                          content.cluster, cluster_bytes_, options_.cancel));
  co_return Result<void>{};
}

Task<Result<void>> VariantCopy::compress(std::vector<Content>& contents) {
  TaskGroup group;
  for (Content& content : contents) {
    if (!content.zero) group.start(compress_one(content));
  }
  co_return co_await group.join();
}

Result<void> VariantCopy::place(const Window& window, std::vector<Content>& contents) {
  const format::Geometry& geometry = writer_.geometry();
  for (std::size_t i = 0; i < window.size(); ++i) {
    Content& content = contents[i];
    if (content.zero) continue;
    if (content.payload.size_bytes > 0) {
      BYRE_TRY(content.at, writer_.place_payload(content.payload.size_bytes, window[i].references));
      const auto extent = format::make_compressed_extent(geometry, content.at, content.payload.size_bytes);
      if (!extent) return fail(ErrorCode::no_space, "{}", format::describe(extent.error()));
      *window[i].word = format::encode_l2_word(geometry, format::L2Entry::from_compressed(*extent));
    } else {
      BYRE_TRY(content.at, writer_.place(1, window[i].references));
      *window[i].word = format::encode_l2_word(geometry, format::L2Entry::normal(content.at, false));
    }
  }
  return {};
}

// What lies one behind the other in the file is one request.
Task<Result<void>> VariantCopy::write(const std::vector<Content>& contents) {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::vector<ConstBytes> parts;
  for (const Content& content : contents) {
    if (content.zero) continue;
    if (!parts.empty() && content.at.bytes != end) {
      const std::span<const ConstBytes> all = parts;
      BYRE_CO_CHECK(co_await writer_.storage().write(begin, all));
      parts.clear();
    }
    if (parts.empty()) begin = content.at.bytes;
    parts.push_back(content.stored());
    end = content.at.bytes + parts.back().size();
  }
  if (parts.empty()) co_return Result<void>{};
  const std::span<const ConstBytes> all = parts;
  co_return co_await writer_.storage().write(begin, all);
}

Task<Result<void>> VariantCopy::copy_window(Window window, std::uint64_t ticket) {
  BufferPool::Loan loan = buffers_.take();
  const Bytes bytes = loan.first(window.size() * cluster_bytes_);
  Result<void> done = co_await load(window, bytes);
  std::vector<Content> contents(window.size());
  for (std::size_t i = 0; i < contents.size(); ++i) {
    contents[i].cluster = ConstBytes(bytes).subspan(i * cluster_bytes_, cluster_bytes_);
    contents[i].zero = done && options_.sparse_bytes != 0 && is_all_zero(contents[i].cluster);
  }
  if (done && options_.compress) done = co_await compress(contents);
  co_await turnstile_.wait_for(ticket);
  if (done) done = place(window, contents);
  turnstile_.pass();
  if (done) done = co_await write(contents);
  co_return done;
}

// What lies one behind the other in the file is one request here too.
Task<Result<void>> VariantCopy::clone(const Window& window, const std::vector<Content>& contents) {
  for (std::size_t i = 0; i < window.size();) {
    const std::size_t first = i++;
    while (i < window.size() && contents[i].at == contents[i - 1].at + cluster_bytes_) ++i;
    const ClonePiece& piece = window[first].clone;
    BYRE_CO_CHECK(co_await writer_.storage().clone(contents[first].at.bytes, *piece.source, piece.source_offset_bytes,
                                                   (i - first) * cluster_bytes_));
  }
  co_return Result<void>{};
}

Task<Result<void>> VariantCopy::clone_window(Window window, std::uint64_t ticket) {
  std::vector<Content> contents(window.size());
  co_await turnstile_.wait_for(ticket);
  Result<void> done = place(window, contents);
  turnstile_.pass();
  if (done) done = co_await clone(window, contents);
  co_return done;
}

}  // namespace byre::ops
