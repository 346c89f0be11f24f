// Long requests are cut into several, one after the other: who wants more in flight asks for more at once. A server
// with blocks gets whole ones: reads are widened, writes of parts of blocks read the rest first. What is written while
// the rest of its block is on its way would be lost, so each change holds its blocks.
#include "storage/nbd_storage.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <vector>

#include "base/math.h"
#include "base/text.h"
#include "byre/task/sync.h"
#include "storage/checks.h"
#include "storage/nbd_connection.h"

namespace byre {

namespace {

constexpr std::uint64_t most_data_bytes = 32 << 20;     // that a server must take unless it says otherwise
constexpr std::uint64_t most_range_bytes = 1ull << 30;  // of requests without data
constexpr const char* allocation_context = "base:allocation";

struct ExportTraits {
  std::uint64_t size_bytes = 0;
  std::uint64_t block_bytes = 1;
  std::uint64_t most_data_bytes = 0;
  bool flush = false;
  bool fua = false;
  bool trim = false;
  bool zero = false;
  bool status = false;
};

class NbdStorage final : public Storage {
 public:
  NbdStorage(std::shared_ptr<NbdConnection> connection, ExportTraits traits, FileOptions options, std::string name)
      : connection_(std::move(connection)), traits_(traits), options_(options), name_(std::move(name)) {}
  ~NbdStorage() override { connection_->disconnect(); }

  Task<Result<std::size_t>> read(std::uint64_t offset_bytes, Bytes target) override;
  Task<Result<void>> write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) override;
  Task<Result<void>> flush() override;
  Task<Result<void>> zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap) override;
  Task<Result<void>> punch(std::uint64_t offset_bytes, std::uint64_t length_bytes) override;
  Task<Result<void>> resize(std::uint64_t size_bytes) override;
  Task<Result<void>> extend(std::uint64_t size_bytes) override;
  std::uint64_t size_bytes() const override { return traits_.size_bytes; }
  Task<Result<StorageExtent>> extent_at(std::uint64_t offset_bytes) override;
  bool writable() const override { return options_.writable; }
  bool has_directory() const override { return false; }
  const std::string& name() const override { return name_; }

 private:
  const LibNbd& library() const { return connection_->library(); }
  bool durable_at_once() const {
    return options_.cache == CacheMode::writethrough || options_.cache == CacheMode::directsync;
  }
  Result<void> check(std::uint64_t offset_bytes, std::uint64_t length_bytes) const;
  Task<Result<void>> request(NbdConnection::Issue issue);
  Task<Result<void>> read_blocks(std::uint64_t offset_bytes, Bytes target);
  Task<Result<void>> write_blocks(std::uint64_t offset_bytes, ConstBytes bytes);
  Task<Result<void>> write_part(std::uint64_t offset_bytes, ConstBytes bytes);
  Task<Result<void>> write_bytes_at(std::uint64_t offset_bytes, ConstBytes bytes);
  Task<Result<void>> zero_blocks(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap);
  Task<Result<void>> sync();

  const std::shared_ptr<NbdConnection> connection_;
  const ExportTraits traits_;
  const FileOptions options_;
  const std::string name_;
  RangeLock blocks_;  // that are being changed
};

Result<void> NbdStorage::check(std::uint64_t offset_bytes, std::uint64_t length_bytes) const {
  BYRE_CHECK(check_storage_change(*this, offset_bytes, length_bytes));
  if (fits_within(offset_bytes, length_bytes, size_bytes())) return {};
  return fail_in(name(), ErrorCode::no_space, "{} bytes at {} end behind the export, which has {} bytes", length_bytes,
                 offset_bytes, size_bytes());
}

Task<Result<void>> NbdStorage::request(NbdConnection::Issue issue) {
  auto done = co_await connection_->request(std::move(issue));
  if (!done) co_return std::unexpected(std::move(done).error().in_file(name_));
  co_return done;
}

Task<Result<void>> NbdStorage::read_blocks(std::uint64_t offset_bytes, Bytes target) {
  while (!target.empty()) {
    const Bytes piece = target.first(std::min<std::uint64_t>(target.size(), traits_.most_data_bytes));
    const LibNbd& nbd = library();
    NbdConnection::Issue issue = [&nbd, piece, offset_bytes](nbd_handle* handle, nbd_completion_callback done) {
      return nbd.nbd_aio_pread(handle, piece.data(), piece.size(), offset_bytes, done, 0);
    };
    BYRE_CO_CHECK(co_await request(std::move(issue)));
    offset_bytes += piece.size();
    target = target.subspan(piece.size());
  }
  co_return Result<void>{};
}

Task<Result<std::size_t>> NbdStorage::read(std::uint64_t offset_bytes, Bytes target) {
  if (offset_bytes >= size_bytes()) co_return std::size_t{0};
  const Bytes part = target.first(std::min<std::uint64_t>(target.size(), size_bytes() - offset_bytes));
  const std::uint64_t begin = round_down(offset_bytes, traits_.block_bytes);
  const std::uint64_t end = std::min(round_up(offset_bytes + part.size(), traits_.block_bytes), size_bytes());
  if (begin == offset_bytes && end == offset_bytes + part.size()) {
    BYRE_CO_CHECK(co_await read_blocks(offset_bytes, part));
    co_return part.size();
  }
  Buffer whole(end - begin);
  const Bytes all = whole.bytes();
  BYRE_CO_CHECK(co_await read_blocks(begin, all));
  std::memcpy(part.data(), all.data() + (offset_bytes - begin), part.size());
  co_return part.size();
}

Task<Result<void>> NbdStorage::write_blocks(std::uint64_t offset_bytes, ConstBytes bytes) {
  while (!bytes.empty()) {
    const ConstBytes piece = bytes.first(std::min<std::uint64_t>(bytes.size(), traits_.most_data_bytes));
    const LibNbd& nbd = library();
    const std::uint32_t flags = durable_at_once() && traits_.fua ? LIBNBD_CMD_FLAG_FUA : 0;
    NbdConnection::Issue issue = [&nbd, piece, offset_bytes, flags](nbd_handle* handle, nbd_completion_callback done) {
      return nbd.nbd_aio_pwrite(handle, piece.data(), piece.size(), offset_bytes, done, flags);
    };
    BYRE_CO_CHECK(co_await request(std::move(issue)));
    offset_bytes += piece.size();
    bytes = bytes.subspan(piece.size());
  }
  co_return Result<void>{};
}

// What lies in blocks of the server only in part.
Task<Result<void>> NbdStorage::write_part(std::uint64_t offset_bytes, ConstBytes bytes) {
  const std::uint64_t begin = round_down(offset_bytes, traits_.block_bytes);
  const std::uint64_t end = std::min(round_up(offset_bytes + bytes.size(), traits_.block_bytes), size_bytes());
  Buffer whole(end - begin);
  const Bytes all = whole.bytes();
  BYRE_CO_CHECK(co_await read_blocks(begin, all));
  std::memcpy(all.data() + (offset_bytes - begin), bytes.data(), bytes.size());
  const ConstBytes changed = whole.bytes();
  co_return co_await write_blocks(begin, changed);
}

Task<Result<void>> NbdStorage::write_bytes_at(std::uint64_t offset_bytes, ConstBytes bytes) {
  const std::uint64_t block = traits_.block_bytes;
  const std::uint64_t end = offset_bytes + bytes.size();
  const RangeLock::Guard guard = co_await blocks_.lock(round_down(offset_bytes, block), round_up(end, block));
  const bool whole = is_aligned(offset_bytes, block) && (is_aligned(end, block) || end == size_bytes());
  if (whole) co_return co_await write_blocks(offset_bytes, bytes);
  co_return co_await write_part(offset_bytes, bytes);
}

Task<Result<void>> NbdStorage::write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) {
  BYRE_CO_CHECK(check(offset_bytes, total_size(parts)));
  if (parts.size() == 1) {
    BYRE_CO_CHECK(co_await write_bytes_at(offset_bytes, parts[0]));
  } else {
    Buffer joined(total_size(parts));
    std::size_t at = 0;
    for (const ConstBytes part : parts) {
      std::memcpy(joined.data() + at, part.data(), part.size());
      at += part.size();
    }
    const ConstBytes all = joined.bytes();
    BYRE_CO_CHECK(co_await write_bytes_at(offset_bytes, all));
  }
  if (durable_at_once() && !traits_.fua) co_return co_await sync();
  co_return Result<void>{};
}

Task<Result<void>> NbdStorage::sync() {
  if (!traits_.flush) co_return Result<void>{};
  const LibNbd& nbd = library();
  NbdConnection::Issue issue = [&nbd](nbd_handle* handle, nbd_completion_callback done) {
    return nbd.nbd_aio_flush(handle, done, 0);
  };
  co_return co_await request(std::move(issue));
}

Task<Result<void>> NbdStorage::flush() {
  if (options_.cache == CacheMode::unsafe || !writable()) co_return Result<void>{};
  co_return co_await sync();
}

Task<Result<void>> NbdStorage::zero_blocks(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap) {
  const LibNbd& nbd = library();
  const std::uint32_t flags = may_unmap ? 0 : LIBNBD_CMD_FLAG_NO_HOLE;
  while (length_bytes > 0) {
    const std::uint64_t piece = std::min(length_bytes, most_range_bytes);
    NbdConnection::Issue issue = [&nbd, piece, offset_bytes, flags](nbd_handle* handle, nbd_completion_callback done) {
      return nbd.nbd_aio_zero(handle, piece, offset_bytes, done, flags);
    };
    BYRE_CO_CHECK(co_await request(std::move(issue)));
    offset_bytes += piece;
    length_bytes -= piece;
  }
  if (durable_at_once()) co_return co_await sync();
  co_return Result<void>{};
}

Task<Result<void>> NbdStorage::zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap) {
  BYRE_CO_CHECK(check(offset_bytes, length_bytes));
  const std::uint64_t block = traits_.block_bytes;
  const std::uint64_t end = offset_bytes + length_bytes;
  const bool whole = is_aligned(offset_bytes, block) && (is_aligned(end, block) || end == size_bytes());
  if (!whole || !traits_.zero) co_return co_await Storage::zero(offset_bytes, length_bytes, may_unmap);
  const RangeLock::Guard guard = co_await blocks_.lock(offset_bytes, round_up(end, block));
  co_return co_await zero_blocks(offset_bytes, length_bytes, may_unmap && options_.discard == DiscardMode::unmap);
}

// Whole blocks only, and best effort.
Task<Result<void>> NbdStorage::punch(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  BYRE_CO_CHECK(check(offset_bytes, length_bytes));
  if (!traits_.trim || options_.discard == DiscardMode::ignore) co_return Result<void>{};
  const LibNbd& nbd = library();
  std::uint64_t at = round_up(offset_bytes, traits_.block_bytes);
  const std::uint64_t end = round_down(offset_bytes + length_bytes, traits_.block_bytes);
  while (at < end) {
    const std::uint64_t piece = std::min(end - at, most_range_bytes);
    NbdConnection::Issue issue = [&nbd, piece, at](nbd_handle* handle, nbd_completion_callback done) {
      return nbd.nbd_aio_trim(handle, piece, at, done, 0);
    };
    BYRE_CO_CHECK(co_await request(std::move(issue)));
    at += piece;
  }
  co_return Result<void>{};
}

Task<Result<void>> NbdStorage::resize(std::uint64_t size) {
  if (size == size_bytes()) co_return Result<void>{};
  co_return fail_in(name_, ErrorCode::unsupported, "an export of {} bytes cannot be made {} bytes long", size_bytes(),
                    size);
}

Task<Result<void>> NbdStorage::extend(std::uint64_t size) { co_return check(size, 0); }

// The first stretches that a server tells of, merged as long as they are of one kind.
struct Stretches {
  std::uint64_t length_bytes = 0;
  bool data = true;
  bool ended = false;
};

int add_stretches(void* user_data, const char* context, std::uint64_t, std::uint32_t* entries, std::size_t count,
                  int*) {
  auto& stretches = *static_cast<Stretches*>(user_data);
  if (std::strcmp(context, allocation_context) != 0) return 0;
  for (std::size_t i = 0; i + 1 < count && !stretches.ended; i += 2) {
    const bool data = (entries[i + 1] & LIBNBD_STATE_ZERO) == 0;
    if (stretches.length_bytes == 0) stretches.data = data;
    stretches.ended = data != stretches.data;
    if (!stretches.ended) stretches.length_bytes += entries[i];
  }
  return 0;
}

Task<Result<StorageExtent>> NbdStorage::extent_at(std::uint64_t offset_bytes) {
  BYRE_CO_CHECK(check_extent_offset(*this, offset_bytes));
  StorageExtent extent{size_bytes() - offset_bytes, true};
  if (!traits_.status) co_return extent;
  const std::uint64_t begin = round_down(offset_bytes, traits_.block_bytes);
  const std::uint64_t asked = std::min(size_bytes() - begin, most_range_bytes);
  Stretches stretches;
  const LibNbd& nbd = library();
  NbdConnection::Issue issue = [&](nbd_handle* handle, nbd_completion_callback done) {
    nbd_extent_callback told{};
    told.callback = add_stretches;
    told.user_data = &stretches;
    return nbd.nbd_aio_block_status(handle, asked, begin, told, done, 0);
  };
  BYRE_CO_CHECK(co_await request(std::move(issue)));
  const std::uint64_t skipped = offset_bytes - begin;
  if (stretches.length_bytes <= skipped) co_return extent;  // it has told nothing
  extent.length_bytes = std::min(stretches.length_bytes - skipped, size_bytes() - offset_bytes);
  extent.data = stretches.data;
  co_return extent;
}

Result<void> connect(NbdConnection& connection, const NbdAddress& address) {
  const LibNbd& nbd = connection.library();
  nbd_handle* const handle = connection.handle();
  int done = nbd.nbd_set_export_name(handle, address.export_name.c_str());
  if (done == 0) done = nbd.nbd_add_meta_context(handle, allocation_context);
  if (done == 0 && address.socket_path) done = nbd.nbd_aio_connect_unix(handle, address.socket_path->c_str());
  if (done == 0 && !address.socket_path) {
    done = nbd.nbd_aio_connect_tcp(handle, address.host.c_str(), address.port.c_str());
  }
  if (done == 0) return {};
  return std::unexpected(nbd.error("cannot connect").in_file(address.url()));
}

Result<ExportTraits> read_traits(const NbdConnection& connection) {
  const LibNbd& nbd = connection.library();
  nbd_handle* const handle = connection.handle();
  const std::int64_t size = nbd.nbd_get_size(handle);
  if (size < 0) return std::unexpected(nbd.error("the size of the export"));
  ExportTraits traits;
  traits.size_bytes = static_cast<std::uint64_t>(size);
  const std::int64_t block = nbd.nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM);
  const std::int64_t most = nbd.nbd_get_block_size(handle, LIBNBD_SIZE_MAXIMUM);
  traits.block_bytes = block > 0 ? static_cast<std::uint64_t>(block) : 1;
  traits.most_data_bytes = most > 0 ? std::min(static_cast<std::uint64_t>(most), most_data_bytes) : most_data_bytes;
  traits.most_data_bytes = std::max(round_down(traits.most_data_bytes, traits.block_bytes), traits.block_bytes);
  traits.flush = nbd.nbd_can_flush(handle) == 1;
  traits.fua = nbd.nbd_can_fua(handle) == 1;
  traits.trim = nbd.nbd_can_trim(handle) == 1;
  traits.zero = nbd.nbd_can_zero(handle) == 1;
  traits.status = nbd.nbd_can_meta_context(handle, allocation_context) == 1;
  return traits;
}

// For what a URL must not hold as it is.
std::string percent_encoded(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const bool plain =
        std::isalnum(static_cast<unsigned char>(c)) || std::string_view("-._~/").find(c) != std::string_view::npos;
    result += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return result;
}

}  // namespace

std::string NbdAddress::url() const {
  const std::string path = percent_encoded(export_name);
  if (socket_path) {
    return fmt::format("nbd+unix://{}{}?socket={}", path.empty() ? "" : "/", path, percent_encoded(*socket_path));
  }
  const bool numeric = host.find(':') != std::string::npos;
  return fmt::format("nbd://{}{}{}:{}{}{}", numeric ? "[" : "", host, numeric ? "]" : "", port, path.empty() ? "" : "/",
                     path);
}

Task<Result<std::unique_ptr<Storage>>> open_nbd(NbdAddress address, FileOptions options) {
  const std::string name = address.url();
  BYRE_CO_TRY(std::shared_ptr<NbdConnection> connection, NbdConnection::make());
  BYRE_CO_CHECK(connect(*connection, address));
  auto connected = co_await connection->finish_connecting();
  if (!connected) co_return std::unexpected(std::move(connected).error().in_file(name));
  BYRE_CO_TRY(const ExportTraits traits, read_traits(*connection));
  if (options.writable && connection->library().nbd_is_read_only(connection->handle()) == 1) {
    connection->disconnect();
    co_return fail_in(name, ErrorCode::refused, "the server exports it read-only");
  }
  co_return std::make_unique<NbdStorage>(std::move(connection), traits, options, name);
}

}  // namespace byre
