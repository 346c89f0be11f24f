// Checking and repairing images made to harm (docs/format.md section 24): it ends, a check changes nothing, a repair
// never makes the file grow towards a wild pointer (H-56, H-57), and can be taken back.

#include <gtest/gtest.h>

#include "byre/check/check.h"
#include "byre/task/pollers.h"
#include "support/hostile_images.h"
#include "support/hostile_run.h"
#include "support/sanitized.h"

namespace byre::test {
namespace {

class HostileCheck : public testing::Test {
 protected:
  HostileCheck() : loop_(std::move(*make_event_loop(IoMode::threads))) {}

  Result<CheckReport> check(Storage& storage, Repair repair, Storage* undo) {
    CheckOptions options;
    options.repair = repair;
    options.undo = undo;
    options.data = repair == Repair::none;
    return loop_->run(check_image(storage, options));
  }

  // Both ways of one image. What a repair may add: a refcount structure anew, tables moved.
  void survive(const HostileImage& image) {
    SCOPED_TRACE(image.file_name());
    const auto readable = storage_of(image);
    readable->set_writable(false);
    const auto seen = check(*readable, Repair::none, nullptr);
    EXPECT_EQ(readable->size_bytes(), image.size_bytes());
    for (const Repair repair : {Repair::leaks, Repair::all}) {
      const auto storage = storage_of(image);
      MemoryStorage undo;
      const auto report = check(*storage, repair, &undo);
      EXPECT_LE(storage->size_bytes(), image.size_bytes() + (64 << 20));
      // Complete for a second one, unless something cannot be repaired at all.
      if (report && repair == Repair::all) {
        const auto again = check(*storage, Repair::all, nullptr);
        ASSERT_TRUE(again.has_value()) << again.error().message();
        EXPECT_EQ(again->corruptions, report->corruptions);
        EXPECT_EQ(again->corruptions_fixed, 0u);
      }
      if (image.file_size_bytes > 0 || !report) continue;
      ASSERT_TRUE(loop_->run(apply_undo(*storage, undo)).has_value());
      EXPECT_EQ(storage->content(), image.bytes);
    }
  }

  std::unique_ptr<EventLoop> loop_;
};

TEST_F(HostileCheck, EveryRuleIsSurvived) {
  for (const HostileImage& image : hostile_images()) survive(image);
}

TEST_F(HostileCheck, RepairedImagesStayCleanInUse) {
  for (const HostileImage& image : hostile_images()) {
    if (image.file_size_bytes > 0) continue;
    EXPECT_EQ(repair_and_use(image, 1), "") << image.file_name();
  }
  const std::vector<HostileImage> fields = hostile_fields();
  for (std::size_t i = 0; i < fields.size(); i += single_threaded_step) {
    EXPECT_EQ(repair_and_use(fields[i], 2), "") << fields[i].name;
  }
}

TEST_F(HostileCheck, NastyValuesAreSurvived) {
  const std::vector<HostileImage> images = hostile_fields();
  for (std::size_t i = 0; i < images.size(); i += 3 * single_threaded_step) survive(images[i]);
}

}  // namespace
}  // namespace byre::test
