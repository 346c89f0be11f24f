// An image of a test, with the backing content that belongs to it, opened over any storage.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "byre/data/disk.h"
#include "support/fresh_image.h"

namespace byre::test {

struct TestImage {
  FreshImageOptions image;
  std::vector<std::byte> backing;  // of a raw disk; used if the image names one
  std::uint64_t cache_bytes = 0;
  std::optional<bool> lazy_refcounts;  // the choice of the one who opens it
  bool copy_on_read = false;           // the same, where it is opened for writing
  bool discard = true;                 // the same

  bool lazy() const { return lazy_refcounts.value_or(image.lazy_refcounts); }
};

// A disk that is only read reads the backing content where it is: `test` must outlive it.
Task<Result<std::unique_ptr<Disk>>> open_image(std::unique_ptr<Storage> storage, const TestImage& test, bool writable,
                                               std::optional<std::string> snapshot = std::nullopt);

// The whole disk of an image that lies in memory, and is not copied. Needs no scheduler that picks: memory never waits,
// but for decompression, which goes through the loop that runs.
Task<Result<std::vector<std::byte>>> read_all(ConstBytes image, const TestImage& test,
                                              std::optional<std::string> snapshot = std::nullopt);

}  // namespace byre::test
