// Snapshots of images that somebody damaged, other versions and refcount widths of them, and compacting them: where
// more than leaks is wrong they are refused with nothing changed, for a count that is too low would have clusters given
// back that are in use. Where only leaks are, nothing is lost. From version 2 to 3 no count and no entry is touched:
// what is wrong stays as it was.

#include <gtest/gtest.h>

#include "base/endian.h"
#include "byre/check/check.h"
#include "byre/ops/amend.h"
#include "byre/ops/compact.h"
#include "byre/ops/snapshot.h"
#include "byre/storage/memory.h"
#include "byre/task/pollers.h"
#include "data/qcow2_disk.h"
#include "support/damaged_images.h"
#include "support/hostile_images.h"

namespace byre::test {
namespace {

enum class Kind { nothing, create, apply, remove, width, version, compact };

class DamagedSnapshots : public testing::Test {
 protected:
  DamagedSnapshots() : loop_(std::move(*make_event_loop(IoMode::threads))) {}

  struct Outcome {
    std::vector<std::byte> bytes;
    std::optional<Error> error;
  };

  // Something else than the image has.
  static Task<Result<void>> amend(Disk& disk, Kind kind) {
    const format::Header& header = dynamic_cast<const Qcow2Disk&>(disk).header();
    AmendOptions options;
    if (kind == Kind::width) {
      options.refcount_bits = header.refcount_order == 6 ? 32 : 64;
      options.version = 3;
    } else {
      options.version = header.version == 3 ? 2 : 3;
      if (options.version == 2U) options.refcount_bits = 16;
    }
    co_return co_await amend_disk(disk, std::move(options));
  }

  static Task<Result<void>> compact(Disk& disk) {
    CompactOptions options;
    options.zeroes = true;
    BYRE_CO_TRY([[maybe_unused]] const CompactReport report, co_await compact_disk(disk, options));
    co_return Result<void>{};
  }

  static Task<Result<void>> work(Disk& disk, Kind kind) {
    if (kind == Kind::nothing) co_return Result<void>{};
    if (kind == Kind::apply) co_return co_await apply_snapshot(disk, "1");
    if (kind == Kind::remove) co_return co_await delete_snapshot(disk, "1", SnapshotKey::id);
    if (kind == Kind::compact) co_return co_await compact(disk);
    if (kind == Kind::width || kind == Kind::version) co_return co_await amend(disk, kind);
    NewSnapshot snapshot;
    snapshot.name = "new";
    BYRE_CO_TRY([[maybe_unused]] const std::string id, co_await create_snapshot(disk, snapshot));
    co_return Result<void>{};
  }

  Outcome run(const std::vector<std::byte>& image, Kind kind) {
    auto storage = std::make_unique<MemoryStorage>(ConstBytes(image));
    const MemoryStorage& memory = *storage;
    OpenOptions options;
    options.format = "qcow2";
    options.writable = true;
    options.backing.follow = false;
    auto disk = loop_->run(open_disk(std::move(storage), std::move(options)));
    if (!disk) return {image, disk.error()};
    const auto done = loop_->run(work(**disk, kind));
    const auto closed = loop_->run((*disk)->close());
    std::optional<Error> error;
    if (!closed) error = closed.error();
    if (!done) error = done.error();
    return {memory.content(), std::move(error)};
  }

  // Leaks and missing COPIED flags put no data at risk.
  std::vector<std::string> findings(const std::vector<std::byte>& image) {
    MemoryStorage storage{ConstBytes(image)};
    std::vector<std::string> found;
    CheckOptions options;
    options.on_finding = [&found](const Finding& finding) {
      if (finding.kind != FindingClass::leak && !finding.only_slower) found.push_back(finding.text);
    };
    if (!loop_->run(check_image(storage, options))) found.emplace_back("it cannot be checked");
    return found;
  }
  std::uint64_t errors(const std::vector<std::byte>& image) { return findings(image).size(); }

  // Version 2 to 3; the snapshots of these images have all extra data that version 3 wants.
  static bool is_upgrade(const std::vector<std::byte>& before, Kind kind) {
    return kind == Kind::version && load_be32(before.data() + 4) == 2;
  }

  std::unique_ptr<EventLoop> loop_;
};

TEST_F(DamagedSnapshots, AreRefusedWithNothingChangedOrAreSound) {
  unsigned refused = 0;
  unsigned done = 0;
  unsigned upgraded = 0;
  for (const DamagedImage& image : damaged_images()) {
    const std::vector<std::byte> opened = run(image.bytes, Kind::nothing).bytes;
    for (const Kind kind : {Kind::create, Kind::apply, Kind::remove, Kind::width, Kind::version, Kind::compact}) {
      if ((kind == Kind::apply || kind == Kind::remove) && !image.snapshot) continue;
      SCOPED_TRACE(image.name + ", operation " + std::to_string(static_cast<int>(kind)));
      const Outcome result = run(image.bytes, kind);
      if (result.error) {
        EXPECT_TRUE(result.bytes == opened) << result.error->message();
        ++refused;
      } else if (is_upgrade(opened, kind)) {
        EXPECT_EQ(findings(result.bytes), findings(opened));
        ++upgraded;
        continue;
      } else {
        EXPECT_EQ(errors(opened), 0u);
        EXPECT_EQ(errors(result.bytes), 0u);
        ++done;
      }
      if (errors(opened) > 0) {
        EXPECT_TRUE(result.error.has_value());
      }
    }
  }
  EXPECT_GT(upgraded, 20u);
  EXPECT_GT(refused, 500u);
  EXPECT_GT(done, 50u);
}

// The only snapshot's entry as an old writer leaves it, without extra data. None if it lies somewhere else.
std::optional<std::vector<std::byte>> with_short_entry(std::vector<std::byte> image) {
  constexpr std::ptrdiff_t extra_data_bytes = 24;
  const std::uint64_t entry = load_be64(image.data() + 64);
  if (entry + 128 > image.size() || load_be32(image.data() + entry + 36) != extra_data_bytes) return {};
  const auto extra = image.begin() + static_cast<std::ptrdiff_t>(entry) + 40;
  std::copy(extra + extra_data_bytes, extra + 88, extra);
  store_be32(image.data() + entry + 36, 0);
  return image;
}

TEST_F(DamagedSnapshots, WithEntriesOfOldWritersAreNotUpgraded) {
  unsigned refused = 0;
  unsigned done = 0;
  for (const DamagedImage& image : damaged_images()) {
    if (!image.snapshot || load_be32(image.bytes.data() + 4) != 2) continue;
    const auto old = with_short_entry(image.bytes);
    if (!old) continue;
    SCOPED_TRACE(image.name);
    const std::vector<std::byte> opened = run(*old, Kind::nothing).bytes;
    const Outcome result = run(*old, Kind::version);
    EXPECT_EQ(result.error.has_value(), errors(opened) > 0) << image.name;
    EXPECT_EQ(errors(result.bytes), errors(opened));
    if (result.error) {
      EXPECT_TRUE(result.bytes == opened) << result.error->message();
    }
    ++(result.error ? refused : done);
  }
  EXPECT_GT(refused, 20u);
  EXPECT_GT(done, 0u);
}

TEST_F(DamagedSnapshots, SurviveImagesMadeToHarm) {
  for (const HostileImage& image : hostile_images()) {
    if (image.file_size_bytes > 0) continue;
    SCOPED_TRACE(image.file_name());
    const std::vector<std::byte> opened = run(image.bytes, Kind::nothing).bytes;
    for (const Kind kind : {Kind::create, Kind::apply, Kind::remove, Kind::width, Kind::version, Kind::compact}) {
      const Outcome result = run(image.bytes, kind);
      if (result.error) {
        EXPECT_TRUE(result.bytes == opened) << result.error->message();
      } else {
        EXPECT_EQ(findings(result.bytes), is_upgrade(opened, kind) ? findings(opened) : std::vector<std::string>{});
      }
    }
  }
}

}  // namespace
}  // namespace byre::test
