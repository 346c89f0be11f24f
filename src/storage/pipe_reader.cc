// The window is a queue of pieces. A read that wants what has not come yet takes its turn and fills the window up to
// there; those in line behind it find their bytes still in the window, because they came in about the order of the
// stream. Ranges to be kept are copied when they arrive.

#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "base/math.h"
#include "base/text.h"
#include "byre/storage/pipe.h"

namespace byre {

namespace {
constexpr std::size_t piece_bytes = 1 << 20;
}  // namespace

PipeReader::PipeReader(int descriptor, std::string name, const std::atomic<bool>* cancel, std::uint64_t window_bytes)
    : end_(descriptor, PipeEnd::Direction::receives, std::move(name), cancel), window_bytes_(window_bytes) {}

StorageIdentity PipeReader::identity() const {
  struct stat info = {};
  if (::fstat(end_.descriptor(), &info) != 0) return Storage::identity();
  return {info.st_dev, info.st_ino};
}

Error PipeReader::lost(std::string_view what, std::uint64_t offset_bytes) const {
  return Error(ErrorCode::unsupported,
               fmt::format("{} at offset {} is needed behind what lies at {}, and a stream is read once, from front to "
                           "back: save the image in a file first",
                           what, offset_bytes, end_bytes_))
      .in_file(name());
}

// Until the stream has come that far, or has ended.
Task<Result<void>> PipeReader::advance(std::uint64_t end_bytes) {
  while (end_bytes_ < end_bytes && !ended_) {
    std::size_t used = static_cast<std::size_t>((end_bytes_ - begin_bytes_) % piece_bytes);
    if (used == 0) {
      while (window_.size() * piece_bytes >= window_bytes_) {
        window_.pop_front();
        begin_bytes_ += piece_bytes;
      }
      window_.emplace_back(piece_bytes);
    }
    const Bytes room = window_.back().bytes().subspan(used);
    const auto least = static_cast<std::size_t>(std::min<std::uint64_t>(room.size(), end_bytes - end_bytes_));
    BYRE_CO_TRY(const std::size_t got, co_await end_.receive(room, least));
    ended_ = got < least;
    arrived(end_bytes_, room.first(got));
    end_bytes_ += got;
    if (got == 0 && used == 0) window_.pop_back();
  }
  co_return Result<void>{};
}

// Copies what is to be kept of these bytes.
void PipeReader::arrived(std::uint64_t offset_bytes, ConstBytes bytes) {
  const std::uint64_t end = offset_bytes + bytes.size();
  const std::uint64_t reach = offset_bytes - std::min(offset_bytes, wanted_length_bytes_);
  for (auto at = std::ranges::lower_bound(wanted_, reach); at != wanted_.end() && *at < end; ++at) {
    const std::uint64_t from = std::max(*at, offset_bytes);
    const std::uint64_t to = std::min(*at + wanted_length_bytes_, end);
    if (from >= to) continue;
    auto [kept, fresh] = kept_.try_emplace(*at);
    if (fresh) kept->second = Buffer(wanted_length_bytes_);
    std::memcpy(kept->second.data() + (from - *at), bytes.data() + (from - offset_bytes), to - from);
  }
}

Result<void> PipeReader::keep(std::vector<std::uint64_t> offsets, std::uint64_t length_bytes, std::string what) {
  std::ranges::sort(offsets);
  offsets.erase(std::ranges::unique(offsets).begin(), offsets.end());
  const auto total = checked_multiply(offsets.size(), length_bytes);
  if (!total || *total > most_kept_bytes) {
    return fail_in(
        name(), ErrorCode::unsupported,
        "{} of {} each would have to be kept in memory, and {} is the most for a stream: save the image in a "
        "file first",
        fmt::format("{} {}s", offsets.size(), what), human_size(length_bytes), human_size(most_kept_bytes));
  }
  if (!offsets.empty() && offsets.front() < begin_bytes_) {
    return std::unexpected(lost("the " + what, offsets.front()));
  }
  wanted_ = std::move(offsets);
  wanted_length_bytes_ = length_bytes;
  wanted_what_ = std::move(what);
  std::uint64_t at = begin_bytes_;
  for (const Buffer& piece : window_) {
    arrived(at, piece.bytes().first(std::min<std::uint64_t>(piece_bytes, end_bytes_ - at)));
    at += piece_bytes;
  }
  return {};
}

// As many bytes from there on as lie together in memory. Empty: none.
ConstBytes PipeReader::known_from(std::uint64_t offset_bytes) const {
  if (offset_bytes >= end_bytes_) return {};
  if (offset_bytes >= begin_bytes_) {
    const std::uint64_t inside = offset_bytes - begin_bytes_;
    const ConstBytes piece = window_[inside / piece_bytes].bytes();
    const std::uint64_t skip = inside % piece_bytes;
    return piece.subspan(skip, std::min<std::uint64_t>(piece.size() - skip, end_bytes_ - offset_bytes));
  }
  auto after = kept_.upper_bound(offset_bytes);
  if (after == kept_.begin()) return {};
  const auto& [start, content] = *std::prev(after);
  if (offset_bytes - start >= content.size()) return {};
  const std::uint64_t skip = offset_bytes - start;
  return content.bytes().subspan(skip, std::min<std::uint64_t>(content.size() - skip, end_bytes_ - offset_bytes));
}

bool PipeReader::copy_out(std::uint64_t offset_bytes, Bytes target) const {
  while (!target.empty()) {
    const ConstBytes known = known_from(offset_bytes);
    if (known.empty()) return false;
    const std::size_t length = std::min(known.size(), target.size());
    std::memcpy(target.data(), known.data(), length);
    target = target.subspan(length);
    offset_bytes += length;
  }
  return true;
}

Task<Result<std::size_t>> PipeReader::read(std::uint64_t offset_bytes, Bytes target) {
  return read_least(offset_bytes, target, target.size());
}

Task<Result<std::size_t>> PipeReader::read_some(std::uint64_t offset_bytes, Bytes target) {
  return read_least(offset_bytes, target, std::min<std::size_t>(target.size(), 1));
}

Task<Result<std::size_t>> PipeReader::read_least(std::uint64_t offset_bytes, Bytes target, std::size_t least_bytes) {
  BYRE_ASSERT(target.size() < window_bytes_);
  const auto end = checked_add(offset_bytes, least_bytes);
  if (!end) co_return fail_in(name(), ErrorCode::invalid_argument, "no stream is {} bytes long", offset_bytes);
  if (*end > end_bytes_ && !ended_) {
    co_await turn_.acquire();
    Result<void> come = co_await advance(*end);
    turn_.release();
    if (!come) co_return std::unexpected(std::move(come).error());
  }
  if (offset_bytes >= end_bytes_) co_return std::size_t{0};
  const Bytes there = target.first(std::min<std::uint64_t>(target.size(), end_bytes_ - offset_bytes));
  if (copy_out(offset_bytes, there)) co_return there.size();
  const bool wanted = std::ranges::binary_search(wanted_, offset_bytes);
  co_return std::unexpected(lost(wanted ? "the " + wanted_what_ : "the data", offset_bytes));
}

Task<Result<void>> PipeReader::drain() {
  Buffer buffer(piece_bytes);
  co_await turn_.acquire();
  std::uint64_t length = end_bytes_;
  Result<std::size_t> got = std::size_t{0};
  while (got && !ended_) {
    got = co_await end_.receive(buffer.bytes(), 1);
    length += got.value_or(0);
    ended_ = got && *got == 0;
  }
  turn_.release();
  if (!got) co_return std::unexpected(std::move(got).error());
  if (length >= required_bytes_) co_return Result<void>{};
  co_return fail_in(name(), ErrorCode::io, "ends at byte {}, but the tables of the image reach to {}", length,
                    required_bytes_);
}

Error PipeReader::read_only() const {
  return Error(ErrorCode::unsupported, "a stream that is read cannot be written").in_file(name());
}

Task<Result<void>> PipeReader::write(std::uint64_t, std::span<const ConstBytes>) {
  co_return std::unexpected(read_only());
}
Task<Result<void>> PipeReader::flush() { co_return Result<void>{}; }
Task<Result<void>> PipeReader::resize(std::uint64_t) { co_return std::unexpected(read_only()); }

}  // namespace byre
