// Nasty values in every field (docs/format.md H-1 to H-7): whatever an image says, no request may crash, hang or touch
// memory that is not its own, and reading changes nothing.

#include <gtest/gtest.h>

#include "byre/base/units.h"
#include "support/hostile_images.h"
#include "support/hostile_run.h"

namespace byre::test {
namespace {

TEST(HostileFields, ReadersSurviveAndChangeNothing) {
  for (const HostileImage& image : hostile_fields()) EXPECT_TRUE(read_everything(image)) << image.name;
}

TEST(HostileFields, WritersSurvive) {
  unsigned fully_served = 0;
  for (const HostileImage& image : hostile_fields()) {
    SCOPED_TRACE(image.name);
    const auto storage = storage_of(image);
    if (change_everything(*storage, 1)) ++fully_served;
  }
  RecordProperty("fully_served", static_cast<int>(fully_served));
}

// What cannot be opened is left alone.
TEST(HostileFields, RefusedImagesKeepEveryByte) {
  unsigned refused_images = 0;
  for (const HostileImage& image : hostile_fields()) {
    const Outcome outcome = write_at_damage(image);
    if (!outcome.open_error) continue;
    ++refused_images;
    EXPECT_FALSE(outcome.changed) << image.name << ": " << *outcome.open_error;
  }
  EXPECT_GT(refused_images, 100u);
}

}  // namespace
}  // namespace byre::test
