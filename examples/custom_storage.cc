// An image in a storage of one's own: here a vector; it could be an object store or a device.
#include <algorithm>
#include <cstdio>

#include "byre/ops/create.h"
#include "byre/task/pollers.h"

namespace {

using byre::Result, byre::Task;

class VectorStorage final : public byre::Storage {
 public:
  Task<Result<std::size_t>> read(std::uint64_t at, byre::Bytes target) override {
    const std::size_t count = at < bytes_.size() ? std::min(target.size(), bytes_.size() - at) : 0;
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(at), count, target.begin());
    co_return count;
  }
  Task<Result<void>> write(std::uint64_t at, std::span<const byre::ConstBytes> parts) override {
    for (const byre::ConstBytes part : parts) {
      bytes_.resize(std::max(bytes_.size(), at + part.size()));
      std::ranges::copy(part, bytes_.begin() + static_cast<std::ptrdiff_t>(at));
      at += part.size();
    }
    co_return Result<void>{};
  }
  Task<Result<void>> resize(std::uint64_t size) override { return bytes_.resize(size), flush(); }
  Task<Result<void>> flush() override { co_return Result<void>{}; }  // where it counts: returns when all is durable
  std::uint64_t size_bytes() const override { return bytes_.size(); }
  const std::string& name() const override { return name_; }
  std::vector<std::byte> bytes_;
  std::string name_ = "vector";
};

Task<Result<void>> use() {
  auto storage = std::make_unique<VectorStorage>();
  byre::CreateOptions create;
  create.size_bytes = std::uint64_t{1} << 40;
  BYRE_CO_CHECK(co_await byre::create_qcow2(*storage, create));
  byre::OpenOptions open;
  open.format = "qcow2";
  open.writable = true;
  BYRE_CO_TRY(auto disk, co_await byre::open_disk(std::move(storage), open));
  const char text[] = "a terabyte, and this in the middle";
  char again[sizeof text] = {};
  auto done = co_await disk->write(std::uint64_t{1} << 39, std::as_bytes(std::span(text)));
  if (done) done = co_await disk->read(std::uint64_t{1} << 39, std::as_writable_bytes(std::span(again)));
  std::printf("%s, in %zu KiB\n", again, std::size_t{disk->storage().size_bytes() >> 10});
  const auto closed = co_await disk->close();
  co_return done ? closed : done;
}

}  // namespace

int main() {
  const auto done = byre::make_event_loop().value()->run(use());
  if (!done) std::fprintf(stderr, "%s\n", done.error().message().c_str());
  return done ? 0 : 1;
}
