// Each image of the collection gets the reaction that its rule demands (docs/format.md H-8 to H-60), for a read, for a
// write, and for everything at once. Crashes, hangs and memory errors are what the sanitizers and the time limit of a
// test see.

#include "support/hostile_images.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <map>

#include "support/hostile_run.h"
#include "support/verify.h"

namespace byre::test {
namespace {

const std::map<unsigned, std::vector<HostileImage>>& images_by_rule() {
  static const auto sorted = [] {
    std::map<unsigned, std::vector<HostileImage>> by_rule;
    for (HostileImage& image : hostile_images()) by_rule[image.rule].push_back(std::move(image));
    return by_rule;
  }();
  return sorted;
}

// H-59 is about files that change (hostile_file_test.cc). Not taken from the images: to make them takes a tenth of a
// second, which every other test of this program would pay too.
std::vector<unsigned> rules() {
  std::vector<unsigned> all;
  for (unsigned rule = 8; rule <= 60; ++rule) {
    if (rule != 59) all.push_back(rule);
  }
  return all;
}

class HostileRule : public testing::TestWithParam<unsigned> {
 protected:
  static const std::vector<HostileImage>& images() { return images_by_rule().at(GetParam()); }
};

std::string shown(const std::optional<std::string>& text) { return text.value_or("no error"); }

TEST_P(HostileRule, IsAnsweredToAReader) {
  for (const HostileImage& image : images()) {
    SCOPED_TRACE(image.file_name());
    const Outcome outcome = read_at_damage(image);
    EXPECT_FALSE(outcome.changed);
    EXPECT_EQ(outcome.open_error.has_value(), image.reaction.read == OnRead::refused_at_open)
        << shown(outcome.open_error);
    EXPECT_EQ(outcome.request_error.has_value(), image.reaction.read == OnRead::fails) << shown(outcome.request_error);
    EXPECT_FALSE(outcome.close_error) << shown(outcome.close_error);
  }
}

TEST_P(HostileRule, IsAnsweredToAWriter) {
  for (const HostileImage& image : images()) {
    SCOPED_TRACE(image.file_name());
    const OnWrite expected = image.reaction.write;
    const Outcome outcome = write_at_damage(image);
    EXPECT_EQ(outcome.open_error.has_value(), expected == OnWrite::refused_at_open) << shown(outcome.open_error);
    EXPECT_EQ(outcome.request_error.has_value(), expected == OnWrite::fails || expected == OnWrite::marks_corrupt)
        << shown(outcome.request_error);
    EXPECT_EQ(outcome.close_error.has_value(), expected == OnWrite::marks_when_flushed) << shown(outcome.close_error);
    const bool version_3 = load_be32(image.bytes.data() + 4) == 3;
    const bool marks = expected == OnWrite::marks_corrupt || expected == OnWrite::marks_when_flushed;
    if (marks && version_3) {
      EXPECT_TRUE(outcome.corrupt_bit);
    }
    if (expected == OnWrite::marks_corrupt) {
      EXPECT_FALSE(outcome.changed_but_marks) << "more than feature words changed";
    }
    if (expected == OnWrite::refused_at_open || expected == OnWrite::fails) {
      EXPECT_FALSE(outcome.changed) << shown(outcome.open_error) << "; " << shown(outcome.request_error);
    }
    if (expected == OnWrite::works) {
      EXPECT_FALSE(outcome.corrupt_bit);
      EXPECT_TRUE(outcome.changed);
    }
  }
}

TEST_P(HostileRule, ChangesNothingForReaders) {
  for (const HostileImage& image : images()) EXPECT_TRUE(read_everything(image)) << image.file_name();
}

TEST_P(HostileRule, SurvivesEveryRequest) {
  for (const HostileImage& image : images()) {
    SCOPED_TRACE(image.file_name());
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      const auto storage = storage_of(image);
      const bool all_done = change_everything(*storage, seed);
      if (image.reaction.write == OnWrite::refused_at_open) {
        EXPECT_FALSE(all_done);
        EXPECT_EQ(storage->content(), image.bytes);
      }
    }
  }
}

TEST_P(HostileRule, SurvivesResizing) {
  for (const HostileImage& image : images()) {
    SCOPED_TRACE(image.file_name());
    const auto storage = storage_of(image);
    const bool all_done = resize_disk(*storage);
    if (image.reaction.write == OnWrite::refused_at_open) {
      EXPECT_FALSE(all_done);
      EXPECT_EQ(storage->content(), image.bytes);
    }
  }
}

TEST_P(HostileRule, IsToldByInspection) {
  for (const HostileImage& image : images()) {
    SCOPED_TRACE(image.file_name());
    const auto error = info_error(image);
    if (image.info_refused) {
      EXPECT_TRUE(error);
    }
    // Judged when an image is opened, and nowhere else: what opens is shown.
    if (image.rule >= 45 && image.rule <= 48) {
      EXPECT_EQ(error.has_value(), image.info_refused) << shown(error);
    }
    if (error) {
      for (const char c : *error) EXPECT_FALSE(static_cast<unsigned char>(c) < 0x20 || c == 0x7f) << *error;
    }
    if (image.snapshot_refused) {
      EXPECT_TRUE(snapshot_error(image));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(H, HostileRule, testing::ValuesIn(rules()),
                         [](const auto& parameter) { return std::to_string(parameter.param); });

TEST(HostileImages, ThereIsOneForEveryRuleAndARuleForEveryOne) {
  std::vector<unsigned> rules_of_images;
  for (const auto& [rule, images] : images_by_rule()) rules_of_images.push_back(rule);
  EXPECT_EQ(rules_of_images, rules());
}

// What is refused must be refused for its own fault: the sample without any fault serves every request.
TEST(HostileImages, TheSampleItselfIsSound) {
  for (const unsigned version : {2u, 3u}) {
    for (const unsigned cluster_bits : {9u, 12u, 16u}) {
      HostileImage image;
      image.bytes = sample_image(version, cluster_bits).take();
      const auto verdict = verify(image.bytes);
      EXPECT_TRUE(verdict.clean()) << verdict.text();
      EXPECT_FALSE(info_error(image)) << shown(info_error(image));
      const auto storage = storage_of(image);
      change_everything(*storage, 1);
      const auto after = verify(storage->content());
      EXPECT_TRUE(after.sound()) << after.text();
    }
  }
}

}  // namespace
}  // namespace byre::test
