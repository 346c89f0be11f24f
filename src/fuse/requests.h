// What the kernel asks for, answered from disks.
#pragma once

#include <sys/stat.h>

#include "byre/task/sync.h"
#include "fuse/session.h"
#include "fuse/tree.h"

namespace byre::fuse {

// Requests that wait are tasks of a group; the others are answered at once.
class Requests {
 public:
  // The tree must outlive it.
  Requests(const Tree& tree, LogSink log) : tree_(tree), log_(std::move(log)) {}

  // To be given to libfuse, with `this` as its user data.
  static const fuse_lowlevel_ops& operations();

  // Until all that was begun is answered.
  Task<void> finish();

 private:
  friend struct Callbacks;
  struct Range {
    const File* file;
    std::uint64_t offset_bytes;  // of the disk
    std::uint64_t length_bytes;
  };

  struct stat attributes(std::uint64_t inode) const;
  const File* file(std::uint64_t inode) const;
  // Clipped to the file's end; nothing for what is no file.
  Range range(std::uint64_t inode, std::uint64_t offset_bytes, std::uint64_t length_bytes) const;
  void start(Task<Result<void>> task) { running_.start(std::move(task)); }

  Task<Result<void>> read(fuse_req_t request, Range range);
  Task<Result<void>> write(fuse_req_t request, Range range, Buffer data);
  Task<Result<void>> synchronize(fuse_req_t request, const File& file);
  Task<Result<void>> clear(fuse_req_t request, Range range, bool punches);
  Task<Result<void>> seek(fuse_req_t request, Range range, bool for_data);
  void answer(fuse_req_t request, const Result<void>& done) const;
  int error_number(const Error& error) const;

  const Tree& tree_;
  LogSink log_;
  TaskGroup running_;
};

}  // namespace byre::fuse
