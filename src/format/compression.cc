// Deflate is written with ISA-L where speed counts and with our own encoder where size does (no library finds matches
// in a window of 4 KiB faster than zlib), and read with libdeflate; zstd does both. A payload's exact length is not
// stored, so a decoder stops when the cluster is full.
//
// libdeflate refuses a stream that goes on behind the cluster's end, which readers must accept; such a stream is
// decoded again with zlib, which fills what it is given. A zstd frame that would produce more than a cluster is an
// error.

#include "format/compression.h"

#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "base/text.h"
#include "byre/base/assert.h"
#include "format/deflate_encoder.h"
#include "format/isal_deflate.h"

namespace byre::format {
namespace {

constexpr int largest_zstd_window_bits = 23;
constexpr std::size_t longest_stored_block = 65535;  // of deflate
constexpr std::size_t stored_block_overhead = 5;
constexpr std::size_t zstd_frame_overhead = 64;  // more than its headers have

template <class T, auto release>
struct Releaser {
  void operator()(T* context) const { release(context); }
};
template <class T, auto release>
using Owned = std::unique_ptr<T, Releaser<T, release>>;

std::unexpected<Error> bad_payload(std::string_view what) {
  return fail(ErrorCode::io, "compressed cluster cannot be decoded: {}", what);
}

// Those of level 1 and up. The first ones are ISA-L's where it is there.
constexpr std::array<DeflateEffort, most_level> efforts = {{
    {1, 8, 0},
    {2, 16, 0},
    {4, 16, 1},
    {8, 32, 1},
    {12, 48, 2},
    {24, 96, 2},
    {32, 128, 2},
    {64, 258, 2},
    {128, 258, 2},
}};
constexpr int default_deflate_level = 2;
constexpr int first_thorough_level = 8;

std::size_t deflate_cluster(int level, ConstBytes cluster, Bytes target) {
#ifdef BYRE_HAVE_ISAL
  if (level <= most_isal_level) return deflate_with_isal(level, cluster, target);
  // In a tenth of the time, this finds the clusters for which no effort is worth it; the top levels save what there is.
  thread_local std::vector<std::byte> probe;
  probe.resize(cluster.size() - 1);
  if (level < first_thorough_level && deflate_with_isal(1, cluster, probe) == 0) return 0;
#endif
  thread_local const auto encoder = std::make_unique<DeflateEncoder>();
  return encoder->encode(cluster, target, efforts[static_cast<std::size_t>(level) - 1]);
}

std::size_t zstd_cluster(int level, ConstBytes cluster, Bytes target) {
  thread_local const Owned<ZSTD_CCtx, ZSTD_freeCCtx> context(ZSTD_createCCtx());
  const std::size_t size =
      ZSTD_compressCCtx(context.get(), target.data(), target.size(), cluster.data(), cluster.size(), level);
  return ZSTD_isError(size) ? 0 : size;
}

// Blocks that are not compressed: a byte that says so and whether it is the last one, the length, and its complement.
std::size_t deflate_stored(ConstBytes cluster, Bytes target) {
  std::size_t size = 0;
  for (std::size_t at = 0; at < cluster.size(); at += longest_stored_block) {
    const std::size_t length = std::min(longest_stored_block, cluster.size() - at);
    const bool last = at + length == cluster.size();
    const std::size_t head[] = {last, length & 0xff, length >> 8, ~length & 0xff, ~length >> 8 & 0xff};
    for (const std::size_t byte : head) target[size++] = static_cast<std::byte>(byte);
    std::ranges::copy(cluster.subspan(at, length), target.begin() + static_cast<std::ptrdiff_t>(size));
    size += length;
  }
  return size;
}

Result<void> inflate_overlong(ConstBytes payload, Bytes cluster) {
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) return bad_payload("out of memory");
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(payload.data()));
  stream.avail_in = static_cast<uInt>(payload.size());
  stream.next_out = reinterpret_cast<Bytef*>(cluster.data());
  stream.avail_out = static_cast<uInt>(cluster.size());
  const int result = inflate(&stream, Z_SYNC_FLUSH);
  inflateEnd(&stream);
  if ((result == Z_OK || result == Z_BUF_ERROR || result == Z_STREAM_END) && stream.avail_out == 0) return {};
  return bad_payload("damaged deflate stream");
}

Result<void> inflate_cluster(ConstBytes payload, Bytes cluster) {
  thread_local const Owned<libdeflate_decompressor, libdeflate_free_decompressor> context(
      libdeflate_alloc_decompressor());
  std::size_t consumed = 0;
  std::size_t produced = 0;
  const auto result = libdeflate_deflate_decompress_ex(context.get(), payload.data(), payload.size(), cluster.data(),
                                                       cluster.size(), &consumed, &produced);
  if (result == LIBDEFLATE_INSUFFICIENT_SPACE) return inflate_overlong(payload, cluster);
  if (result != LIBDEFLATE_SUCCESS) return bad_payload("damaged deflate stream");
  if (produced != cluster.size()) return bad_payload("the deflate stream ends before the cluster is full");
  return {};
}

Result<void> unzstd_cluster(ConstBytes payload, Bytes cluster) {
  thread_local const Owned<ZSTD_DCtx, ZSTD_freeDCtx> context(ZSTD_createDCtx());
  ZSTD_DCtx_reset(context.get(), ZSTD_reset_session_and_parameters);
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, largest_zstd_window_bits);
  ZSTD_inBuffer in{payload.data(), payload.size(), 0};
  ZSTD_outBuffer out{cluster.data(), cluster.size(), 0};
  for (;;) {
    const std::size_t in_before = in.pos;
    const std::size_t out_before = out.pos;
    const std::size_t hint = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(hint)) return bad_payload(ZSTD_getErrorName(hint));
    if (hint == 0 && out.pos == out.size) return {};
    if (in.pos == in_before && out.pos == out_before) break;
  }
  return bad_payload(out.pos == out.size ? "a zstd frame is longer than the cluster"
                                         : "the zstd frames end before the cluster is full");
}

}  // namespace

int default_compression_level(CompressionType type) {
  return type == CompressionType::zstd ? ZSTD_CLEVEL_DEFAULT : default_deflate_level;
}

std::size_t compress_cluster(CompressionType type, int level, ConstBytes cluster, Bytes target) {
  if (level == 0) level = default_compression_level(type);
  BYRE_ASSERT(level >= 1 && level <= most_level);
  return type == CompressionType::zstd ? zstd_cluster(level, cluster, target) : deflate_cluster(level, cluster, target);
}

std::size_t longest_stored_bytes(std::size_t cluster_bytes) {
  const std::size_t blocks = cluster_bytes / longest_stored_block + 1;
  return cluster_bytes + blocks * stored_block_overhead + zstd_frame_overhead;
}

std::size_t store_cluster(CompressionType type, ConstBytes cluster, Bytes target) {
  BYRE_ASSERT(target.size() >= longest_stored_bytes(cluster.size()));
  if (type == CompressionType::deflate) return deflate_stored(cluster, target);
  const std::size_t size = zstd_cluster(1, cluster, target);
  BYRE_ASSERT(size > 0);
  return size;
}

Result<void> decompress_cluster(CompressionType type, ConstBytes payload, Bytes cluster) {
  return type == CompressionType::zstd ? unzstd_cluster(payload, cluster) : inflate_cluster(payload, cluster);
}

}  // namespace byre::format
