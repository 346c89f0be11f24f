// The snapshot table, bitmaps, and header bits.

#include <algorithm>

#include "format/bitmap_directory.h"
#include "format/features.h"
#include "support/damaged_images.h"

namespace byre::test {
namespace {

using Target = DamageTarget;

// Makes room behind the end, counted once.
std::uint64_t append(Target& target, std::uint64_t clusters) {
  const std::uint64_t at = target.end();
  target.bytes().resize(at + clusters * target.cluster());
  for (std::uint64_t i = 0; i < clusters; ++i) target.set_count(at + i * target.cluster(), 1);
  return at;
}

// A bitmap whose directory and table are sound, as a base for damage. Returns the directory's offset.
std::uint64_t add_bitmap(Target& target) {
  const std::uint64_t table = append(target, 1);
  const std::uint64_t data = append(target, 1);
  target.put64(table, data);
  format::BitmapEntry entry;
  entry.table = HostOffset(table);
  entry.table_entries = 1;
  entry.name = "bitmap";
  const auto directory = format::encode_bitmap_directory({entry}, target.geometry());
  const std::uint64_t at = append(target, 1);
  std::copy(directory->begin(), directory->end(), target.bytes().begin() + static_cast<std::ptrdiff_t>(at));
  std::uint64_t extension = 112;
  while (target.load64(extension) >> 32 != 0) extension += 8 + ((target.load64(extension) & 0xffff'ffff) + 7) / 8 * 8;
  target.put32(extension, 0x23852875);
  target.put32(extension + 4, format::bitmaps_extension_bytes);
  const auto bytes = format::encode_bitmaps_extension({1, 0, directory->size(), HostOffset(at)});
  std::copy(bytes.begin(), bytes.end(), target.bytes().begin() + static_cast<std::ptrdiff_t>(extension + 8));
  target.put64(88, format::autoclear::bitmaps);
  return at;
}

bool may_have_bitmap(const Target& target) { return target.geometry().version >= 3 && target.cluster() > 512; }

struct TableKinds {
  std::vector<DamageKind> list;
  void add(const char* name, Damage damage, bool (*inflict)(Target&), bool snapshot_may_go = false) {
    list.push_back({.name = name, .damage = damage, .inflict = inflict, .snapshot_may_go = snapshot_may_go});
  }
};

void snapshots(TableKinds& kinds) {
  kinds.add(
      "snapshot-l1-unaligned", Damage::corruption,
      [](Target& t) {
        if (t.snapshot()) t.put64(t.snapshot_entry(), t.load64(t.snapshot_entry()) + 8);
        return t.snapshot();
      },
      true);
  kinds.add(
      "snapshot-l1-behind-the-end", Damage::corruption,
      [](Target& t) {
        if (t.snapshot()) t.put64(t.snapshot_entry(), t.end() + 7 * t.cluster());
        return t.snapshot();
      },
      true);
  kinds.add(
      "snapshot-l1-too-long", Damage::corruption,
      [](Target& t) {
        if (t.snapshot()) t.put32(t.snapshot_entry() + 8, 0x7fff'ffff);
        return t.snapshot();
      },
      true);
  kinds.add(
      "snapshot-l1-is-the-active-one", Damage::corruption,
      [](Target& t) {
        if (t.snapshot()) t.put64(t.snapshot_entry(), t.load64(40));
        return t.snapshot();
      },
      true);
  kinds.add("snapshot-without-disk-size", Damage::corruption, [](Target& t) {
    if (!t.snapshot() || t.geometry().version < 3) return false;
    const std::uint64_t at = t.snapshot_entry();
    // The same id and name with 8 bytes of extra data instead of 24.
    std::copy_n(t.bytes().begin() + static_cast<std::ptrdiff_t>(at + 64), 64,
                t.bytes().begin() + static_cast<std::ptrdiff_t>(at + 48));
    t.put32(at + 36, 8);
    return true;
  });
}

void snapshot_tables(TableKinds& kinds) {
  kinds.add(
      "snapshot-with-too-much-extra-data", Damage::stops,
      [](Target& t) {
        if (t.snapshot()) t.put32(t.snapshot_entry() + 36, 1100);
        return t.snapshot() && t.cluster() > 2048;
      },
      true);
  kinds.add(
      "snapshot-table-behind-the-end", Damage::stops,
      [](Target& t) {
        if (t.snapshot()) t.put64(64, t.end() + 7 * t.cluster());
        return t.snapshot();
      },
      true);
  kinds.add(
      "snapshot-table-unaligned", Damage::stops,
      [](Target& t) {
        if (t.snapshot()) t.put64(64, t.load64(64) + 8);
        return t.snapshot();
      },
      true);
  kinds.add(
      "too-many-snapshots", Damage::stops,
      [](Target& t) {
        if (t.snapshot()) t.put32(60, 65'537);
        return t.snapshot();
      },
      true);
  kinds.add(
      "more-snapshots-than-the-file-holds", Damage::stops,
      [](Target& t) {
        if (t.snapshot()) t.put32(60, 60'000);
        return t.snapshot();
      },
      true);
}

void bitmaps(TableKinds& kinds) {
  kinds.add("bitmap-data-not-counted", Damage::corruption, [](Target& t) {
    if (!may_have_bitmap(t)) return false;
    const std::uint64_t directory = add_bitmap(t);
    t.set_count(t.load64(t.load64(directory)), 0);
    return true;
  });
  kinds.add("bitmap-directory-malformed", Damage::stops, [](Target& t) {
    if (!may_have_bitmap(t)) return false;
    t.put32(add_bitmap(t) + 16, 0x0910'0006);  // type 9
    return true;
  });
  kinds.add("bitmap-table-behind-the-end", Damage::stops, [](Target& t) {
    if (!may_have_bitmap(t)) return false;
    const std::uint64_t directory = add_bitmap(t);
    t.put64(directory, t.end() + t.cluster());
    return true;
  });
  kinds.add("bitmap-data-behind-the-end", Damage::stops, [](Target& t) {
    if (!may_have_bitmap(t)) return false;
    const std::uint64_t directory = add_bitmap(t);
    t.put64(t.load64(directory), t.end() + t.cluster());
    return true;
  });
  kinds.add("bitmaps-bit-without-bitmaps", Damage::stops, [](Target& t) {
    if (t.geometry().version >= 3) t.put64(88, format::autoclear::bitmaps);
    return t.geometry().version >= 3;
  });
}

}  // namespace

std::vector<DamageKind> damage_to_tables() {
  TableKinds kinds;
  snapshots(kinds);
  snapshot_tables(kinds);
  bitmaps(kinds);
  return std::move(kinds.list);
}

}  // namespace byre::test
