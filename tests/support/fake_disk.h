// A disk in memory that does what a test says: which parts have data, what fails, what takes long. It keeps a log of
// the requests in the order in which they began.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "byre/data/disk.h"
#include "byre/storage/memory.h"

namespace byre::test {

struct FakeRequest {
  enum class Kind { read, write, zero, compressed } kind;
  std::uint64_t offset_bytes;
  std::uint64_t length_bytes;
  friend bool operator==(const FakeRequest&, const FakeRequest&) = default;
};

class FakeDisk final : public Disk {
 public:
  // Status is told in stretches of whole blocks of this size.
  static constexpr std::uint64_t block_bytes = 4096;

  // All zeros, known to be zeros. A cluster size of 0 makes a raw disk.
  explicit FakeDisk(std::uint64_t size_bytes, std::uint64_t cluster_size_bytes = 0);

  // Changes content and status without a request.
  void fill(std::uint64_t offset_bytes, std::uint64_t length_bytes, unsigned char value);

  std::vector<std::byte> content;
  std::vector<bool> has_data;                     // per block
  std::optional<std::vector<bool>> top_has_data;  // what the top layer alone has, if that is less
  std::vector<FakeRequest> log;
  // Asked when a request begins: how many turns of the loop it takes, and whether it fails with an I/O error.
  std::function<unsigned(const FakeRequest&)> turns;
  std::function<bool(const FakeRequest&)> fails;
  std::optional<std::uint64_t> status_fails_at;
  std::size_t most_in_flight = 0;

  std::uint64_t size_bytes() const override { return content.size(); }
  Task<Result<void>> read(std::uint64_t offset_bytes, Bytes target) override;
  Task<Result<void>> write(std::uint64_t offset_bytes, ConstBytes data) override;
  Task<Result<void>> write_zeroes(std::uint64_t offset_bytes, std::uint64_t length_bytes, ZeroMode mode) override;
  Task<Result<void>> discard(std::uint64_t offset_bytes, std::uint64_t length_bytes) override;
  Task<Result<void>> write_compressed(std::uint64_t offset_bytes, ConstBytes data) override;
  Task<Result<void>> flush() override;
  Task<Result<void>> resize(std::uint64_t size_bytes, Preallocation preallocation) override;
  Task<Result<BlockStatus>> status(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) override;
  Task<Result<BlockStatus>> layer_status(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) override;
  Task<Result<void>> close() override;
  std::string_view format() const override { return cluster_size_bytes_ == 0 ? "raw" : "qcow2"; }
  bool writable() const override { return true; }
  Storage& storage() override { return storage_; }
  Disk* backing() override { return nullptr; }
  std::uint64_t cluster_size_bytes() const override { return cluster_size_bytes_; }

 private:
  Task<Result<void>> begin(FakeRequest request);
  Task<Result<void>> store(FakeRequest request, ConstBytes data);

  std::uint64_t cluster_size_bytes_;
  std::size_t in_flight_ = 0;
  MemoryStorage storage_;
};

}  // namespace byre::test
