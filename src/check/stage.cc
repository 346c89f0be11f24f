#include "check/stage.h"

namespace byre::check {
namespace {
constexpr std::size_t much_bytes = 8 << 20;
}

void Stage::put(HostOffset at, ConstBytes bytes) {
  bytes_ += bytes.size();
  if (!writes_.empty() && writes_.back().at + writes_.back().bytes.size() == at) {
    writes_.back().bytes.insert(writes_.back().bytes.end(), bytes.begin(), bytes.end());
    return;
  }
  writes_.push_back({at, {bytes.begin(), bytes.end()}});
}

Task<Result<void>> Stage::write() {
  if (writes_.empty()) co_return Result<void>{};
  anything_ = true;
  for (const Write& write : writes_) BYRE_CO_CHECK(co_await undo_.record(write.at, write.bytes.size()));
  BYRE_CO_CHECK(co_await undo_.sync());
  for (const Write& write : writes_) {
    const ConstBytes bytes(write.bytes);
    BYRE_CO_CHECK(co_await write_bytes(image_, write.at.bytes, bytes));
  }
  writes_.clear();
  bytes_ = 0;
  co_return Result<void>{};
}

Task<Result<void>> Stage::relieve() {
  if (bytes_ < much_bytes) co_return Result<void>{};
  co_return co_await write();
}

Task<Result<void>> Stage::commit() {
  BYRE_CO_CHECK(co_await write());
  if (!anything_) co_return Result<void>{};
  anything_ = false;
  co_return co_await image_.flush();
}

}  // namespace byre::check
