// Every kind of damage (tests/support/damaged_*.cc): found, named, repaired, undone.

#include "byre/check/check.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "byre/data/disk.h"
#include "byre/storage/memory.h"
#include "byre/task/pollers.h"
#include "support/damaged_images.h"
#include "support/sanitized.h"
#include "support/verify.h"

namespace byre {
namespace {

using test::Damage;
using test::DamagedImage;

constexpr std::uint64_t clusters_read = 12;

const std::vector<DamagedImage>& images() {
  static const std::vector<DamagedImage> all = test::damaged_images();
  return all;
}

// All of them, or each single_threaded_step-th.
const std::vector<DamagedImage>& chosen_images() {
  static const std::vector<DamagedImage> chosen = [] {
    std::vector<DamagedImage> some;
    for (std::size_t i = 0; i < images().size(); i += test::single_threaded_step) some.push_back(images()[i]);
    return some;
  }();
  return chosen;
}

class CheckTest : public testing::Test {
 protected:
  CheckTest() : loop_(std::move(*make_event_loop(IoMode::threads))) {}

  Result<CheckReport> check(Storage& storage, Repair repair, Storage* undo = nullptr, bool data = false) {
    findings_.clear();
    CheckOptions options;
    options.repair = repair;
    options.undo = undo;
    options.data = data;
    options.on_finding = [this](const Finding& finding) { findings_.push_back(finding); };
    return loop_->run(check_image(storage, options));
  }

  // The first clusters of the disk, or what opening or reading it says.
  Result<std::vector<std::byte>> read(const std::vector<std::byte>& image, std::uint64_t cluster_size,
                                      std::optional<std::string> snapshot = std::nullopt) {
    OpenOptions options;
    options.format = "qcow2";
    options.snapshot = std::move(snapshot);
    BYRE_TRY(auto disk, loop_->run(open_disk(std::make_unique<MemoryStorage>(ConstBytes(image)), options)));
    std::vector<std::byte> content(clusters_read * cluster_size);
    const Bytes target(content);
    BYRE_CHECK(loop_->run(disk->read(0, target)));
    BYRE_CHECK(loop_->run(disk->close()));
    return content;
  }

  void expect_same(const DamagedImage& image, const std::vector<std::byte>& repaired, bool snapshot) {
    const auto id = snapshot ? std::optional<std::string>("1") : std::nullopt;
    const auto before = read(image.whole, image.cluster_size_bytes, id);
    const auto after = read(repaired, image.cluster_size_bytes, id);
    ASSERT_TRUE(before.has_value()) << before.error().message();
    ASSERT_TRUE(after.has_value()) << after.error().message();
    for (std::uint64_t i = 0; i < clusters_read; ++i) {
      if (image.may_differ.contains(i)) continue;
      const auto at = static_cast<std::ptrdiff_t>(i * image.cluster_size_bytes);
      EXPECT_TRUE(std::equal(before->begin() + at,
                             before->begin() + at + static_cast<std::ptrdiff_t>(image.cluster_size_bytes),
                             after->begin() + at))
          << "guest cluster " << i;
    }
  }

  std::uint64_t corruptions() const {
    return static_cast<std::uint64_t>(std::ranges::count(findings_, FindingClass::corruption, &Finding::kind));
  }

  std::unique_ptr<EventLoop> loop_;
  std::vector<Finding> findings_;
};

TEST_F(CheckTest, ThereAreSixtyKindsOfDamage) {
  std::set<std::string> kinds;
  for (const DamagedImage& image : images()) kinds.insert(image.name.substr(image.name.find('-') + 1));
  EXPECT_GE(test::damage_to_counts().size() + test::damage_to_entries().size() + test::damage_to_tables().size(), 60u);
  EXPECT_GE(images().size(), 600u);
}

TEST_F(CheckTest, WholeImagesAreClean) {
  std::set<std::vector<std::byte>> seen;
  for (const DamagedImage& image : chosen_images()) {
    if (!seen.insert(image.whole).second) continue;
    MemoryStorage storage{ConstBytes(image.whole)};
    storage.set_writable(false);
    const auto report = check(storage, Repair::none, nullptr, true);
    ASSERT_TRUE(report.has_value()) << image.name << ": " << report.error().message();
    EXPECT_TRUE(report->clean()) << image.name << ": " << (findings_.empty() ? "" : findings_[0].text);
  }
}

TEST_F(CheckTest, FindsEachKindAndChangesNothing) {
  for (const DamagedImage& image : chosen_images()) {
    SCOPED_TRACE(image.name);
    MemoryStorage storage{ConstBytes(image.bytes)};
    storage.set_writable(false);
    const auto report = check(storage, Repair::none, nullptr, true);
    ASSERT_TRUE(report.has_value()) << report.error().message();
    switch (image.damage) {
      case Damage::leaks:
        EXPECT_GT(report->leaks, 0u);
        EXPECT_EQ(report->corruptions, 0u);
        break;
      case Damage::stops: EXPECT_GT(report->check_errors, 0u); break;
      default: EXPECT_GT(report->corruptions, 0u);
    }
    EXPECT_EQ(report->corruptions, corruptions());
    EXPECT_EQ(storage.content(), image.bytes);
    for (const Finding& finding : findings_) EXPECT_FALSE(finding.text.empty() || finding.meaning.empty());
  }
}

TEST_F(CheckTest, RepairsEachKindAndKeepsWhatCouldBeRead) {
  for (const DamagedImage& image : chosen_images()) {
    SCOPED_TRACE(image.name);
    MemoryStorage storage{ConstBytes(image.bytes)};
    MemoryStorage undo;
    const auto report = check(storage, Repair::all, &undo);
    ASSERT_TRUE(report.has_value()) << report.error().message();
    for (const Finding& finding : findings_) {
      if (finding.kind != FindingClass::lost || !finding.guest_offset_bytes || !finding.snapshot.empty()) continue;
      const std::uint64_t first = *finding.guest_offset_bytes / image.cluster_size_bytes;
      for (std::uint64_t i = first; i < first + *finding.length_bytes / image.cluster_size_bytes && i < clusters_read;
           ++i) {
        EXPECT_TRUE(image.may_differ.contains(i)) << finding.text;
      }
    }
    EXPECT_TRUE(report->clean()) << (findings_.empty() ? "" : findings_.back().text);
    const test::Verdict verdict = test::verify(storage.content());
    EXPECT_TRUE(verdict.errors.empty()) << verdict.text();
    if (image.damage != Damage::payload) {
      expect_same(image, storage.content(), false);
      if (image.snapshot && !image.snapshot_may_go) expect_same(image, storage.content(), true);
    }
    const auto undone = loop_->run(apply_undo(storage, undo));
    ASSERT_TRUE(undone.has_value()) << undone.error().message();
    EXPECT_EQ(storage.content(), image.bytes);
  }
}

TEST_F(CheckTest, RepairOfLeaksAloneHarmsNothing) {
  for (const DamagedImage& image : chosen_images()) {
    SCOPED_TRACE(image.name);
    MemoryStorage storage{ConstBytes(image.bytes)};
    MemoryStorage undo;
    const auto report = check(storage, Repair::leaks, &undo);
    ASSERT_TRUE(report.has_value()) << report.error().message();
    if (image.damage == Damage::leaks) {
      EXPECT_TRUE(report->clean());
    }
    if (image.damage == Damage::stops) {
      EXPECT_EQ(storage.content(), image.bytes);
    }
    const auto before = read(image.bytes, image.cluster_size_bytes);
    const auto after = read(storage.content(), image.cluster_size_bytes);
    ASSERT_EQ(before.has_value(), after.has_value());
    if (before) {
      EXPECT_EQ(*before, *after);
    }
    ASSERT_TRUE(loop_->run(apply_undo(storage, undo)).has_value());
    EXPECT_EQ(storage.content(), image.bytes);
  }
}

TEST_F(CheckTest, TakingBackRefusesAnotherImageAndOneThatWasChanged) {
  const auto found = std::ranges::find(images(), "4k-nothing-counted", &DamagedImage::name);
  ASSERT_NE(found, images().end());
  MemoryStorage storage{ConstBytes(found->bytes)};
  MemoryStorage undo;
  ASSERT_TRUE(check(storage, Repair::all, &undo).has_value());
  const auto other = std::ranges::find(images(), "64k-nothing-counted", &DamagedImage::name);
  MemoryStorage another{ConstBytes(other->bytes)};
  EXPECT_FALSE(loop_->run(apply_undo(another, undo)).has_value());
  EXPECT_EQ(another.content(), other->bytes);
  // A damaged undo file, in each of its bytes.
  const std::vector<std::byte> good = undo.content();
  const std::vector<std::byte> repaired = storage.content();
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::vector<std::byte> bad = good;
    bad[i] ^= std::byte{0x10};
    MemoryStorage bad_undo{ConstBytes(bad)};
    const auto done = loop_->run(apply_undo(storage, bad_undo));
    // Only a damaged trailer looks like a repair that was cut off; then the records are whole.
    if (done) {
      EXPECT_GE(i, good.size() - 24);
      EXPECT_EQ(storage.content(), found->bytes);
      storage = MemoryStorage{ConstBytes(repaired)};
    } else {
      EXPECT_EQ(storage.content(), repaired) << "byte " << i;
    }
  }
  std::byte changed[1] = {std::byte{9}};
  const std::uint64_t block = (std::uint64_t{1} << 12) * 2;
  ASSERT_TRUE(loop_->run(write_bytes(storage, block, changed)).has_value());
  const std::vector<std::byte> later = storage.content();
  const auto done = loop_->run(apply_undo(storage, undo));
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().code(), ErrorCode::refused);
  EXPECT_EQ(storage.content(), later);
}

}  // namespace
}  // namespace byre
