// Deflate is written with ISA-L (zlib where it is missing) and read with libdeflate; zstd does both. A payload's exact
// length is not stored, so a decoder stops when the cluster is full.
//
// libdeflate refuses a stream that goes on behind the cluster's end, which readers must accept; such a stream is
// decoded again with zlib, which fills what it is given. A zstd frame that would produce more than a cluster is an
// error.

#include "format/compression.h"

#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>

#include <memory>

#ifdef BYRE_HAVE_ISAL
#include <isa-l/igzip_lib.h>
#endif

#include "base/text.h"

namespace byre::format {
namespace {

constexpr int deflate_window_bits = 12;
constexpr int largest_zstd_window_bits = 23;

template <class T, auto release>
struct Releaser {
  void operator()(T* context) const { release(context); }
};
template <class T, auto release>
using Owned = std::unique_ptr<T, Releaser<T, release>>;

std::unexpected<Error> bad_payload(std::string_view what) {
  return fail(ErrorCode::io, "compressed cluster cannot be decoded: {}", what);
}

#ifdef BYRE_HAVE_ISAL
std::size_t deflate_cluster(ConstBytes cluster, Bytes target) {
  thread_local const auto work = std::make_unique<std::uint8_t[]>(ISAL_DEF_LVL1_DEFAULT);
  isal_zstream stream;
  isal_deflate_stateless_init(&stream);
  stream.level = 1;
  stream.level_buf = work.get();
  stream.level_buf_size = ISAL_DEF_LVL1_DEFAULT;
  stream.hist_bits = deflate_window_bits;
  stream.end_of_stream = 1;
  stream.flush = NO_FLUSH;
  // ISA-L takes a pointer to mutable bytes but does not change them.
  stream.next_in = reinterpret_cast<std::uint8_t*>(const_cast<std::byte*>(cluster.data()));
  stream.avail_in = static_cast<std::uint32_t>(cluster.size());
  stream.next_out = reinterpret_cast<std::uint8_t*>(target.data());
  stream.avail_out = static_cast<std::uint32_t>(target.size());
  if (isal_deflate_stateless(&stream) != COMP_OK || stream.avail_in > 0) return 0;
  return stream.total_out;
}
#else
std::size_t deflate_cluster(ConstBytes cluster, Bytes target) {
  z_stream stream{};
  if (deflateInit2(&stream, 1, Z_DEFLATED, -deflate_window_bits, 8, Z_DEFAULT_STRATEGY) != Z_OK) return 0;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(cluster.data()));
  stream.avail_in = static_cast<uInt>(cluster.size());
  stream.next_out = reinterpret_cast<Bytef*>(target.data());
  stream.avail_out = static_cast<uInt>(target.size());
  const int result = deflate(&stream, Z_FINISH);
  const std::size_t size = stream.total_out;
  deflateEnd(&stream);
  return result == Z_STREAM_END ? size : 0;
}
#endif

std::size_t zstd_cluster(ConstBytes cluster, Bytes target) {
  thread_local const Owned<ZSTD_CCtx, ZSTD_freeCCtx> context(ZSTD_createCCtx());
  const std::size_t size = ZSTD_compressCCtx(context.get(), target.data(), target.size(), cluster.data(),
                                             cluster.size(), ZSTD_CLEVEL_DEFAULT);
  return ZSTD_isError(size) ? 0 : size;
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

std::size_t compress_cluster(CompressionType type, ConstBytes cluster, Bytes target) {
  return type == CompressionType::zstd ? zstd_cluster(cluster, target) : deflate_cluster(cluster, target);
}

Result<void> decompress_cluster(CompressionType type, ConstBytes payload, Bytes cluster) {
  return type == CompressionType::zstd ? unzstd_cluster(payload, cluster) : inflate_cluster(payload, cluster);
}

}  // namespace byre::format
