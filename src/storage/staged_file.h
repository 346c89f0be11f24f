// A file that is made beside the one that it is to replace: NAME.partial becomes NAME in one step, when it is complete.
// Until then NAME is what it was; both are locked, so that nobody uses the one and no second run writes the other.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "byre/storage/file.h"
#include "storage/late_release.h"

namespace byre {

struct StagingOptions {
  CacheMode cache = CacheMode::writeback;
  bool resume = false;  // go on with NAME.partial if it is there; else it is removed first
};

class StagedFile {
 public:
  // Null: `path` can only be written in place, since a rename would change more than its content (no regular file, a
  // mount point, several names, another user's, a link of /proc), or since the directory takes no file. With `resume`
  // that is an error (refused). A symbolic link is followed: the file is made beside what it leads to. Errors: locked
  // (somebody uses NAME, or makes it), refused (what has the name NAME.partial cannot be taken), those of open_file().
  static Result<std::unique_ptr<StagedFile>> open(std::string path, StagingOptions options);

  // The name of the file that open() would make.
  static std::string partial_path(const std::string& path);

  // NAME.partial. New, or, if it was gone on with, with what it held.
  Storage& storage() { return *partial_; }
  const std::string& partial_path() const { return partial_path_; }
  bool resumed() const { return resumed_; }
  bool replaces() const { return former_ != nullptr; }

  // Nothing may be under way. NAME has the new content then, owner, mode and attributes of the old file, and with cache
  // modes that wait it does so durably. Errors: refused (the name has come to mean something else meanwhile), io.
  Result<void> take_place();
  // NAME is the new file, although take_place() may have failed after that.
  bool placed() const { return placed_; }
  // Removes NAME.partial; there is no storage() from then on.
  Result<void> discard();

 private:
  StagedFile(std::string path, std::string real_path, CacheMode cache);
  Result<void> open_partial(const StagingOptions& options);
  Result<bool> try_partial(const StagingOptions& options);
  Result<bool> take_existing(const StagingOptions& options);
  bool may_own(uid_t user) const;
  bool take_over_former() const;
  Result<void> swap();
  Result<void> move_to_free_name();
  Result<void> sync_partial() const;
  Error failure(int errno_value) const;

  const std::string path_;  // as the user gave it
  const std::string real_path_;
  const std::string partial_path_;
  const CacheMode cache_;
  std::unique_ptr<LateRelease> former_release_;  // outlives the descriptor of the file that it is for
  std::unique_ptr<Storage> former_;
  std::unique_ptr<Storage> partial_;
  bool resumed_ = false;
  bool placed_ = false;
};

}  // namespace byre
