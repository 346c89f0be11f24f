// Counts, the refcount table and its blocks.

#include "format/entry.h"
#include "format/refcount.h"
#include "support/damaged_images.h"

namespace byre::test {
namespace {

using Target = DamageTarget;

std::uint64_t maximum(const Target& target) { return format::max_refcount(target.geometry().refcount_order); }

bool all_counts_zero(Target& target) {
  for (std::uint64_t at = 0; at < target.end(); at += target.cluster()) target.set_count(at, 0);
  return true;
}

bool left_dirty(Target& target) {
  if (target.geometry().version < 3) return false;
  target.put64(72, target.load64(72) | 1);
  target.set_count(target.host_of(5), 0);
  target.set_count(target.host_of(6), 0);
  return true;
}

// The table must move to where it can be longer.
bool data_behind_the_reach_of_the_table(Target& target) {
  if (target.cluster() > 512) return false;
  const std::uint64_t reach = 64 * target.geometry().host_bytes_per_refcount_block();
  std::vector<std::byte> content(512, std::byte{0x55});
  target.bytes().resize(reach);
  target.bytes().insert(target.bytes().end(), content.begin(), content.end());
  target.put64(target.l2_at(10), reach | format::entry_copied_flag);
  return true;
}

bool names_block_twice(Target& target) {
  target.put64(target.table_at(1), target.block());
  return true;
}

std::vector<DamageKind> leaks() {
  std::vector<DamageKind> kinds;
  const auto leak = [&kinds](const char* name, bool (*inflict)(Target&)) {
    kinds.push_back({.name = name, .damage = Damage::leaks, .inflict = inflict});
  };
  leak("free-cluster-counted", [](Target& t) {
    t.set_count(t.end() - t.cluster(), 1);
    return !t.snapshot();
  });
  leak("compressed-counted-too-often", [](Target& t) {
    const std::uint64_t extent = t.load64(t.l2_at(2)) & 0xff'ffff;
    t.set_count(extent, t.count(extent) + 1);
    return t.count(extent) < maximum(t);
  });
  leak("counted-behind-the-end", [](Target& t) {
    t.set_count(t.end() + 5 * t.cluster(), 1);
    return true;
  });
  return kinds;
}

std::vector<DamageKind> missing_counts() {
  std::vector<DamageKind> kinds;
  const auto corrupt = [&kinds](const char* name, bool (*inflict)(Target&)) {
    kinds.push_back({.name = name, .inflict = inflict});
  };
  corrupt("data-counted-too-often", [](Target& t) {
    if (t.count(t.host_of(0)) == maximum(t)) return false;
    t.set_count(t.host_of(0), t.count(t.host_of(0)) + 1);
    return !t.snapshot();  // COPIED then stands with a count of 2
  });
  corrupt("shared-data-counted-once", [](Target& t) {
    t.set_count(t.host_of(0), 1);
    return t.snapshot();
  });
  corrupt("shared-table-counted-once", [](Target& t) {
    t.set_count(t.l2_table(), 1);
    return t.snapshot();
  });
  corrupt("data-not-counted", [](Target& t) {
    t.set_count(t.host_of(1), 0);
    return true;
  });
  corrupt("compressed-not-counted", [](Target& t) {
    t.set_count(t.load64(t.l2_at(9)) & 0xff'ffff, 0);
    return true;
  });
  corrupt("zero-cluster-not-counted", [](Target& t) {
    t.set_count(t.host_of(3), 0);
    return true;
  });
  corrupt("l2-table-not-counted", [](Target& t) {
    t.set_count(t.l2_table(), 0);
    return true;
  });
  corrupt("l1-table-not-counted", [](Target& t) {
    t.set_count(t.load64(40), 0);
    return true;
  });
  corrupt("header-not-counted", [](Target& t) {
    t.set_count(0, 0);
    return true;
  });
  corrupt("refcount-block-not-counted", [](Target& t) {
    t.set_count(t.block(), 0);
    return true;
  });
  corrupt("refcount-table-not-counted", [](Target& t) {
    t.set_count(t.load64(48), 0);
    return true;
  });
  corrupt("snapshot-table-not-counted", [](Target& t) {
    if (t.snapshot()) t.set_count(t.snapshot_entry(), 0);
    return t.snapshot();
  });
  corrupt("snapshot-l1-not-counted", [](Target& t) {
    if (t.snapshot()) t.set_count(t.load64(t.snapshot_entry()), 0);
    return t.snapshot();
  });
  corrupt("nothing-counted", all_counts_zero);
  corrupt("left-dirty", left_dirty);
  return kinds;
}

std::vector<DamageKind> wrong_blocks() {
  std::vector<DamageKind> kinds;
  const auto corrupt = [&kinds](const char* name, bool (*inflict)(Target&)) {
    kinds.push_back({.name = name, .inflict = inflict});
  };
  corrupt("block-entry-reserved-bit", [](Target& t) {
    t.put64(t.table_at(0), t.block() | 4);
    return true;
  });
  corrupt("block-entry-unaligned", [](Target& t) {
    t.put64(t.table_at(0), t.block() + 512);
    return t.cluster() > 512;
  });
  corrupt("block-behind-the-end", [](Target& t) {
    t.put64(t.table_at(0), t.end() + 4 * t.cluster());
    return true;
  });
  corrupt("block-far-behind-the-end", [](Target& t) {
    t.put64(t.table_at(0), std::uint64_t{1} << 50);
    return true;
  });
  corrupt("second-block-far-behind-the-end", [](Target& t) {
    t.put64(t.table_at(1), std::uint64_t{1} << 50);
    return true;
  });
  corrupt("no-block", [](Target& t) {
    t.put64(t.table_at(0), 0);
    return true;
  });
  corrupt("block-named-twice", names_block_twice);
  corrupt("block-is-an-l2-table", [](Target& t) {
    t.put64(t.table_at(0), t.l2_table());
    return true;
  });
  corrupt("block-is-the-refcount-table", [](Target& t) {
    t.put64(t.table_at(1), t.load64(48));
    return true;
  });
  corrupt("block-is-data", [](Target& t) {
    t.put64(t.table_at(0), t.host_of(7));
    return true;
  });
  corrupt("block-is-the-l1-table", [](Target& t) {
    t.put64(t.table_at(1), t.load64(40));
    return true;
  });
  return kinds;
}

std::vector<DamageKind> wrong_tables() {
  std::vector<DamageKind> kinds;
  const auto corrupt = [&kinds](const char* name, bool (*inflict)(Target&)) {
    kinds.push_back({.name = name, .inflict = inflict});
  };
  kinds.push_back({.name = "data-behind-the-reach-of-the-table",
                   .inflict = data_behind_the_reach_of_the_table,
                   .may_differ = {10}});
  corrupt("table-behind-the-end", [](Target& t) {
    t.put64(48, t.end() + 9 * t.cluster());
    return true;
  });
  corrupt("table-far-behind-the-end", [](Target& t) {
    t.put64(48, std::uint64_t{1} << 55);
    return true;
  });
  corrupt("table-unaligned", [](Target& t) {
    t.put64(48, t.load64(48) + 8);
    return true;
  });
  corrupt("table-upon-the-header", [](Target& t) {
    t.put64(48, 0);
    return true;
  });
  corrupt("table-without-clusters", [](Target& t) {
    t.put32(56, 0);
    return true;
  });
  corrupt("table-is-data", [](Target& t) {
    t.put64(48, t.host_of(8));
    return true;
  });
  corrupt("table-is-the-l1-table", [](Target& t) {
    t.put64(48, t.load64(40));
    return true;
  });
  return kinds;
}

}  // namespace

std::vector<DamageKind> damage_to_counts() {
  std::vector<DamageKind> all;
  for (auto& kinds : {leaks(), missing_counts(), wrong_blocks(), wrong_tables()}) {
    all.insert(all.end(), kinds.begin(), kinds.end());
  }
  return all;
}

}  // namespace byre::test
