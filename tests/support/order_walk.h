// Runs through every order of completions.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace byre::test {

// One leaf of the tree of choices after another: where a run had a choice, the last one that has alternatives left is
// advanced, and what follows it starts at the first alternative again.
class OrderWalk {
 public:
  std::size_t choose(std::size_t count) {
    if (depth_ == taken_.size()) {
      taken_.push_back(0);
      counts_.push_back(count);
    }
    EXPECT_EQ(counts_[depth_], count) << "the same choices must lead to the same state";
    return taken_[depth_++];
  }

  // False when every order has been run.
  bool advance() {
    taken_.resize(depth_);
    counts_.resize(depth_);
    depth_ = 0;
    while (!taken_.empty() && taken_.back() + 1 == counts_.back()) {
      taken_.pop_back();
      counts_.pop_back();
    }
    if (taken_.empty()) return false;
    ++taken_.back();
    return true;
  }

  std::string text() const {
    std::string text;
    for (const std::size_t choice : taken_) text += std::to_string(choice) + " ";
    return text;
  }

 private:
  std::vector<std::size_t> taken_, counts_;
  std::size_t depth_ = 0;
};

}  // namespace byre::test
