// Each callback looks its inode up, refuses what cannot be, and starts a task; the task ends with a reply. A file's
// size never changes, so the kernel may cache what it likes: nobody else writes behind its back.

#include "fuse/requests.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace byre::fuse {
namespace {

constexpr double forever_seconds = 1e9;
constexpr unsigned background_requests = 64;
constexpr unsigned block_bytes = 512;

}  // namespace

struct Callbacks {
  static Requests& self(fuse_req_t request) { return *static_cast<Requests*>(fuse_req_userdata(request)); }

  static void init(void*, fuse_conn_info* connection) {
    connection->max_background = background_requests;
    connection->congestion_threshold = background_requests * 3 / 4;
    connection->want |= connection->capable & (FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS);
    connection->want &= ~static_cast<unsigned>(FUSE_CAP_ATOMIC_O_TRUNC);
  }

  static void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
    const std::uint64_t inode = self(request).tree_.find(parent, name);
    if (inode == 0) {
      fuse_reply_err(request, ENOENT);
      return;
    }
    fuse_entry_param entry{};
    entry.ino = inode;
    entry.attr = self(request).attributes(inode);
    entry.attr_timeout = entry.entry_timeout = forever_seconds;
    fuse_reply_entry(request, &entry);
  }

  static void getattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
    const struct stat attributes = self(request).attributes(inode);
    fuse_reply_attr(request, &attributes, forever_seconds);
  }

  // As with a block device, cutting it is no error and changes nothing, nor do times; its size and mode stay.
  static void setattr(fuse_req_t request, fuse_ino_t inode, struct stat* wanted, int which, fuse_file_info*) {
    const struct stat attributes = self(request).attributes(inode);
    const bool changes_size = (which & FUSE_SET_ATTR_SIZE) != 0 && wanted->st_size != attributes.st_size;
    const bool grows = changes_size && wanted->st_size > attributes.st_size;
    if (grows || (which & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0) {
      fuse_reply_err(request, grows ? EFBIG : EPERM);
      return;
    }
    fuse_reply_attr(request, &attributes, changes_size ? 0 : forever_seconds);
  }

  static void open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) {
    const File* file = self(request).file(inode);
    if (!file || ((info->flags & O_ACCMODE) != O_RDONLY && !file->part.writable())) {
      fuse_reply_err(request, file ? EACCES : EISDIR);
      return;
    }
    info->keep_cache = 1;
    info->noflush = 1;
    fuse_reply_open(request, info);
  }

  static void read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, fuse_file_info*) {
    Requests& requests = self(request);
    requests.start(requests.read(request, requests.range(inode, static_cast<std::uint64_t>(offset), size)));
  }

  static void write(fuse_req_t request, fuse_ino_t inode, const char* data, size_t size, off_t offset,
                    fuse_file_info*) {
    Requests& requests = self(request);
    const Requests::Range range = requests.range(inode, static_cast<std::uint64_t>(offset), size);
    if (range.length_bytes == 0 && size > 0) {
      fuse_reply_err(request, ENOSPC);
      return;
    }
    Buffer copy(range.length_bytes);  // the kernel's is taken back when this returns
    std::memcpy(copy.data(), data, range.length_bytes);
    requests.start(requests.write(request, range, std::move(copy)));
  }

  static void fsync(fuse_req_t request, fuse_ino_t inode, int, fuse_file_info*) {
    Requests& requests = self(request);
    requests.start(requests.synchronize(request, *requests.file(inode)));
  }

  static void fallocate(fuse_req_t request, fuse_ino_t inode, int mode, off_t offset, off_t length, fuse_file_info*) {
    Requests& requests = self(request);
    const Requests::Range range =
        requests.range(inode, static_cast<std::uint64_t>(offset), static_cast<std::uint64_t>(length));
    const int kind = mode & ~FALLOC_FL_KEEP_SIZE;
    if (kind != FALLOC_FL_PUNCH_HOLE && kind != FALLOC_FL_ZERO_RANGE) {
      fuse_reply_err(request, EOPNOTSUPP);  // of reserved space nothing could be promised: a snapshot takes it away
    } else if (range.length_bytes < static_cast<std::uint64_t>(length) && (mode & FALLOC_FL_KEEP_SIZE) == 0) {
      fuse_reply_err(request, EFBIG);
    } else {
      requests.start(requests.clear(request, range, kind == FALLOC_FL_PUNCH_HOLE));
    }
  }

  static void lseek(fuse_req_t request, fuse_ino_t inode, off_t offset, int whence, fuse_file_info*) {
    Requests& requests = self(request);
    const File* file = requests.file(inode);
    if (!file || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
      fuse_reply_err(request, EINVAL);
      return;
    }
    if (offset < 0 || static_cast<std::uint64_t>(offset) >= file->part.size()) {
      fuse_reply_err(request, ENXIO);
      return;
    }
    const Requests::Range range = requests.range(inode, static_cast<std::uint64_t>(offset), UINT64_MAX);
    requests.start(requests.seek(request, range, whence == SEEK_DATA));
  }

  static void readdir(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, fuse_file_info*) {
    const Tree& tree = self(request).tree_;
    std::vector<std::pair<std::string, std::uint64_t>> entries = {{".", inode}, {"..", tree.node(inode)->parent}};
    for (const std::uint64_t child : tree.children(inode)) entries.emplace_back(tree.node(child)->name, child);
    std::vector<char> listing(size);
    std::size_t used = 0;
    for (auto at = static_cast<std::size_t>(offset); at < entries.size(); ++at) {
      const struct stat attributes = self(request).attributes(entries[at].second);
      const std::size_t needed = fuse_add_direntry(request, listing.data() + used, size - used,
                                                   entries[at].first.c_str(), &attributes, static_cast<off_t>(at + 1));
      if (needed > size - used) break;
      used += needed;
    }
    fuse_reply_buf(request, listing.data(), used);
  }

  static void statfs(fuse_req_t request, fuse_ino_t) {
    struct statvfs result{};
    result.f_bsize = result.f_frsize = block_bytes;
    for (const std::uint64_t inode : self(request).tree_.children(root_inode)) {
      if (const File* file = self(request).file(inode)) result.f_blocks += file->part.size() / block_bytes;
    }
    if (const File* file = self(request).file(root_inode)) result.f_blocks = file->part.size() / block_bytes;
    result.f_namemax = 255;
    fuse_reply_statfs(request, &result);
  }
};

const fuse_lowlevel_ops& Requests::operations() {
  static const fuse_lowlevel_ops all = [] {
    fuse_lowlevel_ops made{};
    made.init = Callbacks::init;
    made.lookup = Callbacks::lookup;
    made.getattr = Callbacks::getattr;
    made.setattr = Callbacks::setattr;
    made.open = Callbacks::open;
    made.read = Callbacks::read;
    made.write = Callbacks::write;
    made.fsync = Callbacks::fsync;
    made.fallocate = Callbacks::fallocate;
    made.lseek = Callbacks::lseek;
    made.readdir = Callbacks::readdir;
    made.statfs = Callbacks::statfs;
    return made;
  }();
  return all;
}

Task<void> Requests::finish() { [[maybe_unused]] const Result<void> all = co_await running_.join(); }

const File* Requests::file(std::uint64_t inode) const {
  const Node* node = tree_.node(inode);
  return node ? node->file : nullptr;
}

struct stat Requests::attributes(std::uint64_t inode) const {
  struct stat made{};
  made.st_ino = inode;
  made.st_uid = ::getuid();
  made.st_gid = ::getgid();
  made.st_blksize = 4096;
  const File* of = file(inode);
  made.st_nlink = of ? 1 : 2;
  made.st_mode = of ? S_IFREG | (of->part.writable() ? 0600U : 0400U) : S_IFDIR | 0500U;
  if (of) {
    made.st_size = static_cast<off_t>(of->part.size());
    made.st_blocks = made.st_size / block_bytes;
  }
  return made;
}

Requests::Range Requests::range(std::uint64_t inode, std::uint64_t offset_bytes, std::uint64_t length_bytes) const {
  const File* of = file(inode);
  if (!of) return {nullptr, 0, 0};
  const std::uint64_t size = of->part.size();
  const std::uint64_t begin = std::min(offset_bytes, size);
  return {of, of->part.offset_bytes + begin, std::min(length_bytes, size - begin)};
}

Task<Result<void>> Requests::read(fuse_req_t request, Range range) {
  Buffer data(range.length_bytes);
  Result<void> done;
  if (range.length_bytes > 0) done = co_await range.file->part.disk->read(range.offset_bytes, data.bytes());
  if (done) {
    fuse_reply_buf(request, reinterpret_cast<const char*>(data.data()), data.size());
  } else {
    answer(request, done);
  }
  co_return Result<void>{};
}

Task<Result<void>> Requests::write(fuse_req_t request, Range range, Buffer data) {
  Result<void> done;
  if (range.length_bytes > 0) done = co_await range.file->part.disk->write(range.offset_bytes, data.bytes());
  if (done) {
    fuse_reply_write(request, data.size());
  } else {
    answer(request, done);
  }
  co_return Result<void>{};
}

Task<Result<void>> Requests::synchronize(fuse_req_t request, const File& file) {
  const Result<void> done = co_await file.part.disk->flush();
  answer(request, done);
  co_return Result<void>{};
}

Task<Result<void>> Requests::clear(fuse_req_t request, Range range, bool punches) {
  Result<void> done;
  if (range.length_bytes > 0) {
    done = co_await range.file->part.disk->write_zeroes(range.offset_bytes, range.length_bytes,
                                                        punches ? ZeroMode::unmap : ZeroMode::keep);
  }
  answer(request, done);
  co_return Result<void>{};
}

// Zeros that need no space are a hole; at the end of the file there is one.
Task<Result<void>> Requests::seek(fuse_req_t request, Range range, bool for_data) {
  std::uint64_t at = range.offset_bytes;
  const std::uint64_t end = at + range.length_bytes;
  while (at < end) {
    const auto status = co_await range.file->part.disk->status(at, end - at);
    if (!status) {
      fuse_reply_err(request, error_number(status.error()));
      co_return Result<void>{};
    }
    const bool is_data = status->data || !status->zero;
    if (is_data == for_data) break;
    at += status->length_bytes;
  }
  if (at >= end && for_data) {
    fuse_reply_err(request, ENXIO);
  } else {
    fuse_reply_lseek(request, static_cast<off_t>(at - range.file->part.offset_bytes));
  }
  co_return Result<void>{};
}

void Requests::answer(fuse_req_t request, const Result<void>& done) const {
  fuse_reply_err(request, done ? 0 : error_number(done.error()));
}

int Requests::error_number(const Error& error) const {
  if (log_) log_(LogLevel::warning, error.message());
  switch (error.code()) {
    case ErrorCode::no_space: return ENOSPC;
    case ErrorCode::refused: return EPERM;
    case ErrorCode::unsupported: return EOPNOTSUPP;
    default: return EIO;
  }
}

}  // namespace byre::fuse
