// Storages over a descriptor whose bytes come or go once, from front to back: a pipe, a socket, standard input or
// output.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "byre/storage/storage.h"
#include "byre/task/pipe_end.h"
#include "byre/task/sync.h"

namespace byre {

// Write-only. Each write begins where the last one ended (refused otherwise), one at a time. Small ones are gathered:
// flush() hands over the rest. A reader that went away is an error (io, EPIPE; SIGPIPE must be ignored).
class PipeWriter final : public Storage {
 public:
  // The descriptor stays the caller's. Calls end (cancelled) soon after `cancel` (may be null) has become true, also
  // while nobody reads.
  PipeWriter(int descriptor, std::string name, const std::atomic<bool>* cancel = nullptr);

  Task<Result<std::size_t>> read(std::uint64_t offset_bytes, Bytes target) override;
  Task<Result<void>> write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) override;
  Task<Result<void>> flush() override;
  Task<Result<void>> resize(std::uint64_t size_bytes) override;
  std::uint64_t size_bytes() const override { return size_bytes_; }
  StorageIdentity identity() const override;
  const std::string& name() const override { return end_.name(); }

 private:
  PipeEnd end_;
  std::uint64_t size_bytes_ = 0;
  std::vector<std::byte> gathered_;
};

// Read-only. What has come is remembered for the last `window_bytes`, and for good where keep() says so; what lies in
// front of that is lost, and asking for it an error (unsupported). Nobody knows its size: size_bytes() is more than any
// image can have, and a stream that ends is cut off there (zeros_behind_end()).
class PipeReader final : public Storage {
 public:
  static constexpr std::uint64_t usual_window_bytes = 64 << 20;
  static constexpr std::uint64_t most_kept_bytes = 256 << 20;

  // As for PipeWriter. The window is larger than any range that is read at once.
  PipeReader(int descriptor, std::string name, const std::atomic<bool>* cancel = nullptr,
             std::uint64_t window_bytes = usual_window_bytes);

  Task<Result<std::size_t>> read(std::uint64_t offset_bytes, Bytes target) override;

  // What has come from there on, at least one byte unless the stream ends.
  Task<Result<std::size_t>> read_some(std::uint64_t offset_bytes, Bytes target);

  // Ranges of one length stay readable for good; memory is taken as they arrive. `what` names them in messages ("L2
  // table"). Comes once. Errors: unsupported (they are too much together, or one is lost already).
  Result<void> keep(std::vector<std::uint64_t> offsets, std::uint64_t length_bytes, std::string what);

  // From now on no more than that is remembered.
  void narrow(std::uint64_t window_bytes) { window_bytes_ = window_bytes; }

  // The stream must be so long, which drain() finds out.
  void require(std::uint64_t length_bytes) { required_bytes_ = std::max(required_bytes_, length_bytes); }

  // Reads to the end of the stream, so that whoever writes it is not cut off. Errors: io (it is too short).
  Task<Result<void>> drain();

  Task<Result<void>> write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) override;
  Task<Result<void>> flush() override;
  Task<Result<void>> resize(std::uint64_t size_bytes) override;
  std::uint64_t size_bytes() const override { return std::uint64_t{1} << 62; }
  bool zeros_behind_end() const override { return false; }
  bool writable() const override { return false; }
  StorageIdentity identity() const override;
  const std::string& name() const override { return end_.name(); }

 private:
  Error read_only() const;
  Error lost(std::string_view what, std::uint64_t offset_bytes) const;
  Task<Result<std::size_t>> read_least(std::uint64_t offset_bytes, Bytes target, std::size_t least_bytes);
  Task<Result<void>> advance(std::uint64_t end_bytes);
  void arrived(std::uint64_t offset_bytes, ConstBytes bytes);
  bool copy_out(std::uint64_t offset_bytes, Bytes target) const;
  ConstBytes known_from(std::uint64_t offset_bytes) const;

  PipeEnd end_;
  std::uint64_t window_bytes_;
  Semaphore turn_{1};
  std::deque<Buffer> window_;      // all full but for the last
  std::uint64_t begin_bytes_ = 0;  // of the window
  std::uint64_t end_bytes_ = 0;    // what has come
  bool ended_ = false;
  std::uint64_t required_bytes_ = 0;
  std::vector<std::uint64_t> wanted_;  // to be kept, rising
  std::uint64_t wanted_length_bytes_ = 0;
  std::string wanted_what_;
  std::map<std::uint64_t, Buffer> kept_;
};

}  // namespace byre
