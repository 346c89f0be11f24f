// A disk that can do only some of what disks can: one that stands for a stream or a stretch, an image that is being
// made. What a class that is derived from it does not add is refused (unsupported); flush and close have nothing to do.
#pragma once

#include <string>
#include <utility>

#include "base/text.h"
#include "byre/data/disk.h"

namespace byre {

class LimitedDisk : public Disk {
 public:
  Task<Result<void>> read(std::uint64_t, Bytes) override { return refuse(); }
  Task<Result<void>> write(std::uint64_t, ConstBytes) override { return refuse(); }
  Task<Result<void>> write_zeroes(std::uint64_t, std::uint64_t, ZeroMode) override { return refuse(); }
  Task<Result<void>> discard(std::uint64_t, std::uint64_t) override { return refuse(); }
  Task<Result<void>> write_compressed(std::uint64_t, ConstBytes) override { return refuse(); }
  Task<Result<void>> flush() override { co_return Result<void>{}; }
  Task<Result<void>> resize(std::uint64_t, Preallocation) override { return refuse(); }
  Task<Result<BlockStatus>> status(std::uint64_t, std::uint64_t) override { return refuse_status(); }
  Task<Result<BlockStatus>> layer_status(std::uint64_t, std::uint64_t) override { return refuse_status(); }
  Task<Result<void>> close() override { co_return Result<void>{}; }
  Disk* backing() override { return nullptr; }

 private:
  Task<Result<void>> refuse() {
    co_return fail_in(storage().name(), ErrorCode::unsupported, "such a disk cannot do that");
  }
  Task<Result<BlockStatus>> refuse_status() {
    co_return fail_in(storage().name(), ErrorCode::unsupported, "such a disk cannot tell what it holds");
  }
};

}  // namespace byre
