#include "support/test_image.h"

#include "byre/storage/memory.h"
#include "support/view_storage.h"

namespace byre::test {

Task<Result<std::unique_ptr<Disk>>> open_image(std::unique_ptr<Storage> storage, const TestImage& test, bool writable,
                                               std::optional<std::string> snapshot) {
  OpenOptions options;
  options.format = "qcow2";
  options.writable = writable;
  options.snapshot = std::move(snapshot);
  options.cache_size_bytes = test.cache_bytes;
  options.lazy_refcounts = test.lazy_refcounts;
  options.copy_on_read = test.copy_on_read && writable;
  options.discard = test.discard;
  std::unique_ptr<Disk> backing;
  if (!test.image.backing_name.empty()) {
    OpenOptions raw;
    raw.format = "raw";
    std::unique_ptr<Storage> storage_below;
    if (writable) {
      storage_below = std::make_unique<MemoryStorage>(ConstBytes(test.backing));
    } else {
      storage_below = std::make_unique<ViewStorage>(ConstBytes(test.backing));
    }
    BYRE_CO_TRY(backing, co_await open_disk(std::move(storage_below), raw, nullptr));
  }
  co_return co_await open_disk(std::move(storage), options, std::move(backing));
}

Task<Result<std::vector<std::byte>>> read_all(ConstBytes image, const TestImage& test,
                                              std::optional<std::string> snapshot) {
  auto storage = std::make_unique<ViewStorage>(image);
  BYRE_CO_TRY(auto disk, co_await open_image(std::move(storage), test, false, std::move(snapshot)));
  std::vector<std::byte> content(disk->size_bytes());
  const Bytes target(content);
  BYRE_CO_CHECK(co_await disk->read(0, target));
  BYRE_CO_CHECK(co_await disk->close());
  co_return content;
}

}  // namespace byre::test
