// Every site of I/O in a session x every fault: no cell of the matrix is empty. A failure prints seed, operation and
// fault.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>

#include "support/crash_count.h"
#include "support/fault_run.h"

namespace byre::test {
namespace {

struct Column {
  const char* name;
  int errno_value;
  bool for_ever;
  bool short_transfer;  // for reads and writes only
};

constexpr std::array columns{
    Column{"EIO", EIO, false, false},       Column{"EIO...", EIO, true, false},
    Column{"ENOSPC", ENOSPC, false, false}, Column{"ENOSPC...", ENOSPC, true, false},
    Column{"EINTR", EINTR, false, false},   Column{"EINTR...", EINTR, true, false},
    Column{"short", 0, false, true},        Column{"short...", 0, true, true},
};

// Where the engine does I/O in a session. "new": nothing refers to the cluster yet. A flush is named by the write
// before it. docs/testing.md says which call in the source each belongs to.
constexpr const char* sites[] = {
    "flush behind write L1 table",
    "flush behind write L2 table",
    "flush behind write data",
    "flush behind write header: L1 pointer",
    "flush behind write header: autoclear features",
    "flush behind write header: features",
    "flush behind write header: refcount table pointer",
    "flush behind write header: size",
    "flush behind write new L1 table",
    "flush behind write new L2 table",
    "flush behind write new refcount block",
    "flush behind write new refcount table",
    "flush behind write refcount block",
    "flush first",
    "punch L2 table",
    "punch data",
    "punch not linked",
    "punch payload",
    "read L1 table",
    "read L2 table",
    "read data",
    "read header",
    "read not linked",
    "read payload",
    "read refcount block",
    "read refcount table",
    "read snapshot table",
    "resize file",
    "write L1 table",
    "write L2 table",
    "write data",
    "write header: L1 pointer",
    "write header: autoclear features",
    "write header: features",
    "write header: refcount table pointer",
    "write header: size",
    "write new L1 table",
    "write new L2 table",
    "write new data",
    "write new never linked",
    "write new payload",
    "write new refcount block",
    "write new refcount table",
    "write payload",
    "write refcount block",
};

struct Place {
  std::uint64_t seed, operation;
};

class Matrix {
 public:
  // Runs a program without a fault, to learn where its I/O goes.
  void learn(std::uint64_t seed) {
    const FaultRunResult run = run_with_fault(seed, {}, true);
    ASSERT_EQ(run.failure, "") << "seed " << seed;
    examined_ += run.crash_states;
    for (std::size_t i = 0; i < run.sites.size(); ++i) places_[run.sites[i]].push_back({seed, i + 1});
  }

  // `times` for each cell, at places that lie apart.
  void fail_everywhere(std::uint64_t times) {
    for (const auto& [site, places] : places_) {
      for (std::size_t column = 0; column < columns.size(); ++column) {
        if (!applies(site, column)) continue;
        for (std::uint64_t i = 0; i < std::min<std::uint64_t>(times, places.size()); ++i) {
          fail_at(site, places[i * places.size() / std::min<std::uint64_t>(times, places.size())], column);
          if (testing::Test::HasFailure()) return;
        }
      }
    }
  }

  std::string text() const {
    std::string text = fmt::format("{:58}", "");
    for (const Column& column : columns) text += fmt::format("{:>10}", column.name);
    for (const auto& [site, places] : places_) {
      text += fmt::format("\n{:58}", site);
      for (std::size_t column = 0; column < columns.size(); ++column) {
        const auto at = cells_.find({site, column});
        text += fmt::format("{:>10}", at == cells_.end() ? "-" : std::to_string(at->second));
      }
    }
    return text + "\n";
  }

  const std::map<std::string, std::vector<Place>>& places() const { return places_; }
  std::uint64_t cell(const std::string& site, std::size_t column) const {
    const auto at = cells_.find({site, column});
    return at == cells_.end() ? 0 : at->second;
  }
  std::uint64_t examined() const { return examined_; }

  // Only reads and writes can be short.
  static bool applies(std::string_view site, std::size_t column) {
    return !columns[column].short_transfer || site.starts_with("read") || site.starts_with("write");
  }

 private:
  void fail_at(const std::string& site, Place place, std::size_t column) {
    FaultPlan fault;
    fault.nth = place.operation;
    fault.errno_value = columns[column].errno_value;
    fault.for_ever = columns[column].for_ever;
    fault.short_transfer = columns[column].short_transfer;
    const FaultRunResult run = run_with_fault(place.seed, fault, false);
    ASSERT_EQ(run.failure, "") << "seed " << place.seed << ", operation " << place.operation << " (" << site << "), "
                               << columns[column].name;
    examined_ += run.crash_states;
    if (run.faults > 0) ++cells_[{site, column}];
  }

  std::map<std::string, std::vector<Place>> places_;
  std::map<std::pair<std::string, std::size_t>, std::uint64_t> cells_;
  std::uint64_t examined_ = 0;
};

void learn(Matrix& matrix, std::uint64_t first, std::uint64_t programs) {
  for (std::uint64_t seed = first; seed < first + programs; ++seed) {
    matrix.learn(seed);
    if (testing::Test::HasFatalFailure()) return;
  }
}

void expect_no_empty_cell(const Matrix& matrix) {
  for (const char* site : sites) {
    for (std::size_t column = 0; column < columns.size(); ++column) {
      if (!Matrix::applies(site, column)) continue;
      EXPECT_GT(matrix.cell(site, column), 0u) << site << " never met " << columns[column].name;
    }
  }
  for (const auto& [site, places] : matrix.places()) {
    EXPECT_NE(std::ranges::find(sites, site), std::end(sites)) << site << ": a new site; the list above lacks it";
  }
}

TEST(FaultMatrix, EveryFaultAtEverySiteIsAnErrorOrInvisible) {
  Matrix matrix;
  learn(matrix, 9'000'000, 200);
  matrix.fail_everywhere(4);
  fmt::print("{}", matrix.text());
  expect_no_empty_cell(matrix);
  report_crash_states(matrix.examined());
}

TEST(NightlyFaultMatrix, EveryFaultAtEverySiteIsAnErrorOrInvisible) {
  Matrix matrix;
  learn(matrix, 90'000'000, 2'000);
  matrix.fail_everywhere(200);
  fmt::print("{}", matrix.text());
  expect_no_empty_cell(matrix);
  report_crash_states(matrix.examined());
}

}  // namespace
}  // namespace byre::test
