#include "ops/verified_disk.h"

#include <algorithm>

#include "base/text.h"
#include "data/limited_disk.h"
#include "data/range.h"
#include "ops/node_open.h"

namespace byre::ops {

namespace {

class VerifiedDisk final : public LimitedDisk {
 public:
  VerifiedDisk(std::unique_ptr<Disk> test, std::unique_ptr<Disk> raw) : test_(std::move(test)), raw_(std::move(raw)) {}

  std::uint64_t size_bytes() const override { return test_->size_bytes(); }
  Task<Result<void>> read(std::uint64_t offset_bytes, Bytes target) override;
  Task<Result<void>> write(std::uint64_t offset_bytes, ConstBytes data) override;
  Task<Result<void>> write_zeroes(std::uint64_t offset_bytes, std::uint64_t length_bytes, ZeroMode mode) override;
  Task<Result<void>> flush() override;
  Task<Result<BlockStatus>> status(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) override {
    return test_->status(offset_bytes, max_length_bytes);
  }
  Task<Result<BlockStatus>> layer_status(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) override {
    return test_->layer_status(offset_bytes, max_length_bytes);
  }
  Task<Result<void>> close() override;
  std::string_view format() const override { return test_->format(); }
  bool writable() const override { return test_->writable(); }
  Storage& storage() override { return test_->storage(); }
  Disk* backing() override { return test_->backing(); }
  std::uint64_t cluster_size_bytes() const override { return test_->cluster_size_bytes(); }

 private:
  std::unique_ptr<Disk> test_;
  std::unique_ptr<Disk> raw_;
};

Task<Result<void>> VerifiedDisk::read(std::uint64_t offset_bytes, Bytes target) {
  BYRE_CO_CHECK(check_range(*this, offset_bytes, target.size()));
  Buffer expected(target.size());
  const Bytes other = expected.bytes();
  BYRE_CO_CHECK(co_await raw_->read(offset_bytes, other));
  BYRE_CO_CHECK(co_await test_->read(offset_bytes, target));
  const auto [found, wanted] = std::ranges::mismatch(target, other);
  if (found == target.end()) co_return Result<void>{};
  co_return fail_in(storage().name(), ErrorCode::io, "contents mismatch at offset {}: it is not what {} holds",
                    offset_bytes + static_cast<std::uint64_t>(found - target.begin()),
                    escape_untrusted(raw_->storage().name(), 4096));
}

Task<Result<void>> VerifiedDisk::write(std::uint64_t offset_bytes, ConstBytes data) {
  BYRE_CO_CHECK(check_change(*this, offset_bytes, data.size()));
  BYRE_CO_CHECK(co_await raw_->write(offset_bytes, data));
  co_return co_await test_->write(offset_bytes, data);
}

Task<Result<void>> VerifiedDisk::write_zeroes(std::uint64_t offset_bytes, std::uint64_t length_bytes, ZeroMode mode) {
  BYRE_CO_CHECK(check_change(*this, offset_bytes, length_bytes));
  BYRE_CO_CHECK(co_await raw_->write_zeroes(offset_bytes, length_bytes, mode));
  co_return co_await test_->write_zeroes(offset_bytes, length_bytes, mode);
}

Task<Result<void>> VerifiedDisk::flush() {
  if (!writable()) co_return Result<void>{};
  BYRE_CO_CHECK(co_await raw_->flush());
  co_return co_await test_->flush();
}

Task<Result<void>> VerifiedDisk::close() {
  const Result<void> raw = co_await raw_->close();
  const Result<void> test = co_await test_->close();
  co_return raw ? test : raw;
}

}  // namespace

Task<Result<std::unique_ptr<Disk>>> open_verified(NodeOptions node, OpenOptions options) {
  NodeSetting setting = setting_of(options);
  setting.detect_zeroes = DetectZeroes::off;  // the business of the disk that is tested
  BYRE_CO_TRY([[maybe_unused]] const auto driver, node.take_text("driver"));
  BYRE_CO_CHECK(take_common(node, setting));
  BYRE_CO_TRY(std::optional<NodeOptions> raw_node, node.take_child("raw"));
  BYRE_CO_TRY(std::optional<NodeOptions> test_node, node.take_child("test"));
  BYRE_CO_CHECK(node.expect_empty("blkverify"));
  if (!raw_node || !test_node) {
    co_return fail(ErrorCode::invalid_argument, "driver blkverify needs {} and {}",
                   escape_untrusted(node.full_name("raw.filename")), escape_untrusted(node.full_name("test.*")));
  }
  OpenOptions raw_options = options;
  raw_options.format = "raw";
  raw_options.snapshot.reset();
  raw_options.copy_on_read = false;
  raw_options.lazy_refcounts.reset();
  options.format.reset();
  BYRE_CO_TRY(std::unique_ptr<Storage> bytes, co_await open_bytes(*std::move(raw_node), setting));
  BYRE_CO_TRY(std::unique_ptr<Disk> raw, co_await open_disk(std::move(bytes), std::move(raw_options)));
  BYRE_CO_TRY(std::unique_ptr<Disk> test, co_await open_image_node(*std::move(test_node), std::move(options)));
  if (raw->size_bytes() == test->size_bytes()) {
    co_return std::make_unique<VerifiedDisk>(std::move(test), std::move(raw));
  }
  (void)co_await test->close();
  (void)co_await raw->close();  // nothing was written
  co_return fail(ErrorCode::invalid_argument, "{} has {} bytes, and {} has {}: blkverify compares what is as long",
                 escape_untrusted(raw->storage().name(), 4096), raw->size_bytes(),
                 escape_untrusted(test->storage().name(), 4096), test->size_bytes());
}

}  // namespace byre::ops
