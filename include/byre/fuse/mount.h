// Disks as files: any program reads and writes them, without kernel modules of its own (FUSE).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "byre/base/log.h"
#include "byre/base/result.h"
#include "byre/data/disk_part.h"

namespace byre::fuse {

// A disk, or a part of it, as a file of fixed size.
struct File {
  std::string name;  // in the directory; one "/" puts it into a directory there
  DiskPart part;
};

struct MountOptions {
  std::string mountpoint;    // a directory, or a regular file that a single file takes the place of
  bool allow_other = false;  // other users may use it, as far as the files' modes let them
  LogSink log;
};

// What others do with such a file: read and write, also through mmap; fsync makes durable what was written; holes can
// be punched and looked for; it cannot be made longer or shorter.
class Mount {
 public:
  // Mounts. Errors: invalid_argument (names, parts outside of their disks, several files on a file), not_found, io,
  // refused (the system does not allow it).
  static Result<std::unique_ptr<Mount>> make(std::vector<File> files, MountOptions options);
  // Unmounts what is still mounted.
  virtual ~Mount() = default;

  // Serves until somebody unmounts it, or stop(). The disks are neither flushed nor closed. Call once.
  virtual Task<Result<void>> run() = 0;

  // From the loop's thread. Where files are still open, they show errors from then on.
  virtual void stop() = 0;
};

}  // namespace byre::fuse
