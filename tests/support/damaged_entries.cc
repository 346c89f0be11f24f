// L1 and L2 entries.

#include "format/entry.h"
#include "support/damaged_images.h"

namespace byre::test {
namespace {

using Target = DamageTarget;

constexpr std::uint64_t copied = format::entry_copied_flag;
constexpr std::uint64_t far = std::uint64_t{1} << 45;

std::set<std::uint64_t> everything() {
  std::set<std::uint64_t> clusters;
  for (std::uint64_t i = 0; i < 16; ++i) clusters.insert(i);
  return clusters;
}

struct EntryKinds {
  std::vector<DamageKind> list;
  void add(const char* name, bool (*inflict)(Target&), std::set<std::uint64_t> may_differ = {}) {
    list.push_back({.name = name, .inflict = inflict, .may_differ = std::move(may_differ)});
  }
};

void flags(EntryKinds& kinds) {
  kinds.add("copied-flipped-on-data", [](Target& t) {
    t.put64(t.l2_at(0), t.load64(t.l2_at(0)) ^ copied);
    return true;
  });
  kinds.add("copied-flipped-on-zero-cluster", [](Target& t) {
    t.put64(t.l2_at(3), t.load64(t.l2_at(3)) ^ copied);
    return true;
  });
  kinds.add("copied-flipped-in-l1", [](Target& t) {
    t.put64(t.l1_at(0), t.load64(t.l1_at(0)) ^ copied);
    return true;
  });
  kinds.add("copied-on-compressed", [](Target& t) {
    t.put64(t.l2_at(2), t.load64(t.l2_at(2)) | copied);
    return true;
  });
  kinds.add("l1-reserved-low-bit", [](Target& t) {
    t.put64(t.l1_at(0), t.load64(t.l1_at(0)) | 2);
    return true;
  });
  kinds.add("l1-reserved-high-bit", [](Target& t) {
    t.put64(t.l1_at(0), t.load64(t.l1_at(0)) | std::uint64_t{1} << 60);
    return true;
  });
  kinds.add("l2-reserved-low-bit", [](Target& t) {
    t.put64(t.l2_at(6), t.load64(t.l2_at(6)) | 4);
    return true;
  });
  kinds.add("l2-reserved-high-bit", [](Target& t) {
    t.put64(t.l2_at(6), t.load64(t.l2_at(6)) | std::uint64_t{1} << 58);
    return true;
  });
  kinds.add("zero-flag-in-version-2", [](Target& t) {
    t.put64(t.l2_at(6), t.load64(t.l2_at(6)) | 1);
    return t.geometry().version == 2;
  });
}

void subclusters(EntryKinds& kinds) {
  kinds.add("subcluster-allocated-and-zero", [](Target& t) {
    if (t.geometry().extended_l2) t.put64(t.l2_at(6) + 8, 0x0000'0005'ffff'ffff);
    return t.geometry().extended_l2;
  });
  kinds.add("subcluster-without-offset",
            [](Target& t) {
              if (t.geometry().extended_l2) t.put64(t.l2_at(4) + 8, 0xffff'fffe'0000'0001);
              return t.geometry().extended_l2;
            },
            {4});
  kinds.add("subcluster-zero-flag-in-first-word",
            [](Target& t) {
              t.put64(t.l2_at(6), t.load64(t.l2_at(6)) | 1);
              return t.geometry().extended_l2;
            },
            {4});
  kinds.add("subcluster-bits-on-compressed", [](Target& t) {
    if (t.geometry().extended_l2) t.put64(t.l2_at(2) + 8, 7);
    return t.geometry().extended_l2;
  });
}

void pointers(EntryKinds& kinds) {
  kinds.add(
      "l1-unaligned",
      [](Target& t) {
        t.put64(t.l1_at(0), t.load64(t.l1_at(0)) + 512);
        return t.cluster() > 512;
      },
      everything());
  kinds.add("l1-behind-the-end", [](Target& t) {
    t.put64(t.l1_at(1), (t.end() + 2 * t.cluster()) | copied);
    return true;
  });
  kinds.add("l1-far-behind-the-end", [](Target& t) {
    t.put64(t.l1_at(1), far | copied);
    return true;
  });
  kinds.add("l2-unaligned",
            [](Target& t) {
              t.put64(t.l2_at(5), t.load64(t.l2_at(5)) + 512);
              return t.cluster() > 512;
            },
            {5});
  kinds.add("zero-cluster-unaligned", [](Target& t) {
    t.put64(t.l2_at(3), t.load64(t.l2_at(3)) + 512);
    return t.cluster() > 512 && t.geometry().version >= 3;
  });
  kinds.add("l2-behind-the-end",
            [](Target& t) {
              t.put64(t.l2_at(5), (t.end() + 3 * t.cluster()) | copied);
              return true;
            },
            {5});
  kinds.add("l2-far-behind-the-end",
            [](Target& t) {
              t.put64(t.l2_at(5), far | copied);
              return true;
            },
            {5});
  kinds.add("zero-cluster-behind-the-end", [](Target& t) {
    const std::uint64_t flag = t.geometry().extended_l2 ? 0 : 1;
    t.put64(t.l2_at(3), (t.end() + 3 * t.cluster()) | copied | flag);
    return t.geometry().version >= 3;
  });
  kinds.add("compressed-behind-the-end",
            [](Target& t) {
              t.put64(t.l2_at(9), format::entry_compressed_flag | (t.end() + 5 * t.cluster()));
              return true;
            },
            {9});
}

void overlaps(EntryKinds& kinds) {
  kinds.add("data-is-the-header",
            [](Target& t) {
              t.put64(t.l2_at(2), format::entry_compressed_flag | 16);  // a plain entry cannot name offset 0
              return true;
            },
            {2});
  kinds.add("data-is-the-l1-table",
            [](Target& t) {
              t.put64(t.l2_at(7), t.load64(40) | copied);
              return true;
            },
            {7});
  kinds.add("data-is-the-l2-table",
            [](Target& t) {
              t.put64(t.l2_at(7), t.l2_table() | copied);
              return true;
            },
            {7});
  kinds.add("data-is-the-refcount-table",
            [](Target& t) {
              t.put64(t.l2_at(7), t.load64(48) | copied);
              return true;
            },
            {7});
  kinds.add("data-is-a-refcount-block",
            [](Target& t) {
              t.put64(t.l2_at(7), t.block() | copied);
              return true;
            },
            {7});
  kinds.add("data-is-the-snapshot-table",
            [](Target& t) {
              if (t.snapshot()) t.put64(t.l2_at(7), t.snapshot_entry() | copied);
              return t.snapshot();
            },
            {7});
  kinds.add("data-is-a-snapshot-l1-table",
            [](Target& t) {
              if (t.snapshot()) t.put64(t.l2_at(7), t.load64(t.snapshot_entry()) | copied);
              return t.snapshot();
            },
            {7});
  kinds.add("l2-table-is-the-header", [](Target& t) {
    t.put64(t.l1_at(1), t.load64(40) | copied);
    return true;
  });
  kinds.add("two-guest-clusters-in-one",
            [](Target& t) {
              t.put64(t.l2_at(7), t.load64(t.l2_at(8)));
              return t.geometry().refcount_order > 1 || !t.snapshot();
            },
            {7});
  kinds.add("two-l1-entries-one-table", [](Target& t) {
    t.put64(t.l1_at(1), t.load64(t.l1_at(0)));
    return t.geometry().refcount_order > 1 || !t.snapshot();
  });
}

}  // namespace

std::vector<DamageKind> damage_to_entries() {
  EntryKinds kinds;
  flags(kinds);
  subclusters(kinds);
  pointers(kinds);
  overlaps(kinds);
  kinds.list.push_back({.name = "payload-is-garbage",
                        .damage = Damage::payload,
                        .inflict =
                            [](Target& t) {
                              const std::uint64_t extent = t.load64(t.l2_at(9)) & 0xff'ffff;
                              for (int i = 0; i < 6; ++i)
                                t.bytes()[extent + static_cast<std::uint64_t>(i)] = std::byte{0xff};
                              return true;
                            },
                        .may_differ = {9},
                        .repairable = false});
  return std::move(kinds.list);
}

}  // namespace byre::test
