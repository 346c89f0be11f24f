// What files and block devices of the host have in common; reading and writing come from the subclasses.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "byre/storage/file.h"
#include "byre/task/sync.h"
#include "storage/host_call.h"

namespace byre {

// A descriptor with an owner, which gives up its locks too.
class ImageDescriptor {
 public:
  ImageDescriptor() = default;
  explicit ImageDescriptor(int fd) : fd_(fd) {}
  ImageDescriptor(ImageDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ImageDescriptor& operator=(ImageDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~ImageDescriptor();
  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

// What open_file() found out.
struct OpenedFile {
  ImageDescriptor descriptor;
  std::string name;
  FileOptions options;
  bool device = false;
  std::uint64_t size_bytes = 0;
  StorageIdentity identity;
};

// Whether a kind of system call is made in the loop's thread. One that took long is a sign of more: the next few are
// handed over to the ring or a thread, so that the loop is held up rarely.
class Promptness {
 public:
  // Asked once for each call. Few are handed over since a busy processor looks like a slow call.
  bool at_once() {
    if (to_hand_over_ == 0) return true;
    --to_hand_over_;
    return false;
  }

  template <class Call>
  auto measure(Call call) {
    const auto begin = std::chrono::steady_clock::now();
    const auto result = call();
    if (std::chrono::steady_clock::now() - begin > slow) to_hand_over_ = handed_over_after_slow;
    return result;
  }

 private:
  static constexpr std::chrono::microseconds slow{2000};
  static constexpr unsigned handed_over_after_slow = 32;
  unsigned to_hand_over_ = 0;
};

class HostFile : public Storage {
 public:
  explicit HostFile(OpenedFile opened);

  Task<Result<void>> flush() override;
  Task<Result<void>> zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap) override;
  Task<Result<void>> punch(std::uint64_t offset_bytes, std::uint64_t length_bytes) override;
  Task<Result<void>> allocate(std::uint64_t offset_bytes, std::uint64_t length_bytes) override;
  Task<Result<void>> resize(std::uint64_t size_bytes) override;
  std::uint64_t size_bytes() const override { return size_bytes_; }
  Task<Result<StorageExtent>> extent_at(std::uint64_t offset_bytes) override;
  std::optional<std::uint64_t> allocated_bytes() const override;
  std::uint64_t clone_block_bytes() const override;
  Task<Result<void>> clone(std::uint64_t offset_bytes, Storage& source, std::uint64_t source_offset_bytes,
                           std::uint64_t length_bytes) override;
  bool writable() const override { return opened_.options.writable; }
  StorageIdentity identity() const override { return opened_.identity; }
  const std::string& name() const override { return opened_.name; }

 protected:
  // Notes that a call may extend the file, so that no truncation cuts off what it writes. Once it is done, say so.
  class Growth {
   public:
    Growth(HostFile& file, std::uint64_t end_bytes);
    Growth(const Growth&) = delete;
    Growth& operator=(const Growth&) = delete;
    ~Growth();
    // The call succeeded: the size is at least its end.
    void done() { succeeded_ = true; }

   private:
    HostFile& file_;
    const std::uint64_t end_bytes_;
    const bool grows_;
    bool succeeded_ = false;
  };

  int fd() const { return opened_.descriptor.get(); }
  bool device() const { return opened_.device; }
  bool durable_at_once() const;  // every change is made durable before it is reported
  // "<name>: <verb> of <length> bytes at <offset>: <what errno says>".
  Error failure(std::int64_t negative_errno, std::string_view verb, std::uint64_t offset_bytes,
                std::uint64_t length_bytes) const;
  Result<void> check_change(std::uint64_t offset_bytes, std::uint64_t length_bytes) const;
  // Does the whole transfer away from the loop, with as many calls as it takes. Returns what was not transferred,
  // above 0 only at the end of the file (reading). A call that ends inside a block of `block_bytes` met the end.
  Task<Result<std::uint64_t>> read_rest(std::uint64_t offset_bytes, TransferVectors& to, std::uint32_t block_bytes);
  Task<Result<void>> write_rest(std::uint64_t offset_bytes, TransferVectors& from);
  Task<Result<void>> sync_if_durable_at_once();

  // zero() without its fallback of writing zeros. False: the system cannot do it, nothing was changed but the size.
  Task<Result<bool>> zero_by_system(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap);
  Task<Result<void>> write_zeros(std::uint64_t offset_bytes, std::uint64_t length_bytes);
  // Makes the file at least that long. At once, in the calling thread: only so can it not cut off a later write.
  Result<void> grow(std::uint64_t end_bytes);
  // Sets the size exactly, in a thread; nothing that grows the file may be under way.
  Task<Result<void>> truncate(std::uint64_t size_bytes);

 private:
  Task<std::int64_t> find_extent(std::uint64_t offset_bytes, bool& is_data);
  Task<std::int64_t> fallocate(int mode, std::uint64_t offset_bytes, std::uint64_t length_bytes);
  Task<Result<void>> allocate_by_writing(std::uint64_t offset_bytes, std::uint64_t end_bytes);
  Task<std::int64_t> clone_range(std::uint64_t offset_bytes, const HostFile& source, std::uint64_t source_offset_bytes,
                                 std::uint64_t length_bytes);
  void refresh_size();

  const OpenedFile opened_;
  std::uint64_t size_bytes_;
  std::uint64_t growing_end_bytes_ = 0;  // of the calls under way that may extend the file
  std::size_t growing_ = 0;
  Promptness finding_;
  Promptness cloning_;
  std::uint64_t data_begin_bytes_ = 0;  // the stretch of data found last
  std::uint64_t data_end_bytes_ = 0;
  int sync_errno_ = 0;  // of the first flush that failed
  bool can_punch_ = true;
  bool can_zero_ = true;
};

// Through the page cache.
class BufferedFile final : public HostFile {
 public:
  using HostFile::HostFile;
  Task<Result<std::size_t>> read(std::uint64_t offset_bytes, Bytes target) override;
  Task<Result<void>> write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) override;

 private:
  std::int64_t read_cached(std::uint64_t offset_bytes, TransferVectors& to);
  bool write_at_once(std::uint64_t length_bytes);
  std::int64_t write_cached(std::uint64_t offset_bytes, TransferVectors& from);
  Task<Result<void>> write_piece(std::uint64_t offset_bytes, TransferVectors from);
  Task<Result<void>> write_in_pieces(std::uint64_t offset_bytes, std::span<const ConstBytes> parts);

  bool can_read_without_waiting_ = true;
  Promptness writing_;
};

// What direct I/O asks of a request. Powers of two, at most 4096.
struct DirectAlignment {
  std::uint32_t offset_bytes = 4096;  // of offset and length
  std::uint32_t memory_bytes = 4096;
};

// Past the page cache (O_DIRECT).
class DirectFile final : public HostFile {
 public:
  DirectFile(OpenedFile opened, DirectAlignment alignment) : HostFile(std::move(opened)), alignment_(alignment) {}
  Task<Result<std::size_t>> read(std::uint64_t offset_bytes, Bytes target) override;
  Task<Result<void>> write(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) override;
  Task<Result<void>> zero(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool may_unmap) override;
  Task<Result<void>> punch(std::uint64_t offset_bytes, std::uint64_t length_bytes) override;
  Task<Result<void>> allocate(std::uint64_t offset_bytes, std::uint64_t length_bytes) override;
  Task<Result<void>> resize(std::uint64_t size_bytes) override;
  Task<Result<void>> extend(std::uint64_t size_bytes) override;
  Task<Result<void>> clone(std::uint64_t offset_bytes, Storage& source, std::uint64_t source_offset_bytes,
                           std::uint64_t length_bytes) override;

 private:
  class Bounce;
  class Gather;
  bool fits(std::uint64_t offset_bytes, std::span<const ConstBytes> parts) const;
  bool must_pad(std::uint64_t end_bytes) const;
  Task<RangeLock::Guard> lock(std::uint64_t begin_bytes, std::uint64_t end_bytes);
  Task<RangeLock::Guard> lock_for_write(std::uint64_t begin_bytes, std::uint64_t end_bytes);
  Task<Result<void>> read_block(std::uint64_t offset_bytes, Bytes block);
  Task<Result<void>> write_bounced(std::uint64_t offset_bytes, std::uint64_t length_bytes, Gather& from);
  Task<Result<void>> zero_blocks(std::uint64_t begin_bytes, std::uint64_t end_bytes, bool may_unmap);

  const DirectAlignment alignment_;
  RangeLock locks_;            // in blocks of alignment_.offset_bytes
  std::vector<Buffer> spare_;  // bounce buffers
};

}  // namespace byre
