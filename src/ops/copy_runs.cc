// Two passes: each unit gets a kind, neighbours of one kind are merged; then runs of zeros that are too short to be
// worth a hole become data and are merged with what surrounds them.
#include "ops/copy_runs.h"

#include <algorithm>
#include <cstring>

#include "format/limits.h"

namespace byre::ops {

namespace {

constexpr std::uint64_t raw_unit_bytes = 4096;

enum class Unit { data, zero, equal };

struct UnitRun {
  Unit unit;
  std::size_t offset_bytes;
  std::size_t length_bytes;
};

void append(std::vector<UnitRun>& runs, UnitRun run) {
  if (!runs.empty() && runs.back().unit == run.unit) {
    runs.back().length_bytes += run.length_bytes;
  } else {
    runs.push_back(run);
  }
}

Unit kind_of(ConstBytes unit, ConstBytes existing, const CopyRunRules& rules) {
  if (!existing.empty() && std::memcmp(unit.data(), existing.data(), unit.size()) == 0) return Unit::equal;
  if (rules.sparse_bytes != 0 && is_all_zero(unit)) return Unit::zero;
  return Unit::data;
}

std::vector<UnitRun> classify(ConstBytes content, ConstBytes existing, const CopyRunRules& rules) {
  std::vector<UnitRun> runs;
  if (existing.empty() && rules.sparse_bytes == 0) {
    runs.push_back({Unit::data, 0, content.size()});
    return runs;
  }
  for (std::size_t at = 0; at < content.size(); at += rules.unit_bytes) {
    const std::size_t length = std::min(rules.unit_bytes, content.size() - at);
    const ConstBytes old = existing.empty() ? existing : existing.subspan(at, length);
    append(runs, {kind_of(content.subspan(at, length), old, rules), at, length});
  }
  return runs;
}

bool is_data(const std::vector<UnitRun>& runs, std::size_t index) {
  return index < runs.size() && runs[index].unit == Unit::data;
}

}  // namespace

CopyRunRules copy_run_rules(const Disk& target, const CopyOptions& options) {
  const std::uint64_t cluster = target.cluster_size_bytes();
  const bool fine = options.sparse_bytes != 0 && options.sparse_bytes < raw_unit_bytes;
  CopyRunRules rules;
  rules.unit_bytes = cluster != 0 ? cluster : fine ? format::sector_bytes : raw_unit_bytes;
  rules.sparse_bytes = options.compress ? std::min(options.sparse_bytes, cluster) : options.sparse_bytes;
  rules.skip_zeros = options.target_content == TargetContent::zeros;
  return rules;
}

void start_run(TaskGroup& writes, Disk& target, std::uint64_t offset_bytes, ConstBytes content, const CopyRun& run,
               bool compress) {
  const std::uint64_t begin = offset_bytes + run.offset_bytes;
  if (run.kind == CopyRun::Kind::zero) {
    writes.start(target.write_zeroes(begin, run.length_bytes, ZeroMode::unmap));
    return;
  }
  const ConstBytes data = content.subspan(run.offset_bytes, run.length_bytes);
  if (!compress) {
    writes.start(target.write(begin, data));
    return;
  }
  const std::uint64_t cluster = target.cluster_size_bytes();
  for (std::size_t at = 0; at < data.size(); at += cluster) {
    const ConstBytes part = data.subspan(at, std::min<std::size_t>(cluster, data.size() - at));
    writes.start(target.write_compressed(begin + at, part));
  }
}

std::vector<CopyRun> copy_runs(ConstBytes content, ConstBytes existing, const CopyRunRules& rules) {
  const std::vector<UnitRun> units = classify(content, existing, rules);
  std::vector<UnitRun> merged;
  for (std::size_t i = 0; i < units.size(); ++i) {
    UnitRun run = units[i];
    const bool next_to_data = (i > 0 && is_data(units, i - 1)) || is_data(units, i + 1);
    if (run.unit == Unit::zero && run.length_bytes < rules.sparse_bytes && next_to_data) run.unit = Unit::data;
    append(merged, run);
  }
  std::vector<CopyRun> result;
  for (const UnitRun& run : merged) {
    if (run.unit == Unit::data) result.push_back({CopyRun::Kind::data, run.offset_bytes, run.length_bytes});
    if (run.unit == Unit::zero && !rules.skip_zeros) {
      result.push_back({CopyRun::Kind::zero, run.offset_bytes, run.length_bytes});
    }
  }
  return result;
}

}  // namespace byre::ops
