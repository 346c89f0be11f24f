// Images in which equal clusters are stored once: they read as what was written, are sound, share what their counts
// allow and their table remembers, depend on nothing but the order of the calls, and stay sound when they are written.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <set>

#include "base/endian.h"
#include "byre/ops/create.h"
#include "byre/ops/snapshot.h"
#include "byre/storage/memory.h"
#include "byre/storage/simulated.h"
#include "byre/task/sync.h"
#include "data/load.h"
#include "data/new_image.h"
#include "format/entry.h"
#include "ops/new_image_copy.h"
#include "support/findings.h"
#include "support/sanitized.h"

namespace byre::test {
namespace {

using Content = std::vector<std::byte>;

struct Shape {
  std::uint64_t cluster_bytes = 4096;
  unsigned refcount_bits = 16;
  Compression compression = Compression::zlib;
};

// Begins with its kind, which is above 0; every second kind compresses.
Content cluster_of(std::uint64_t kind, std::uint64_t cluster_bytes) {
  Content cluster(cluster_bytes, static_cast<std::byte>(kind));
  SimulatedRandom random(kind);
  if (kind % 2 == 0) std::ranges::generate(cluster, [&] { return static_cast<std::byte>(random.next()); });
  std::memcpy(cluster.data(), &kind, sizeof kind);
  return cluster;
}

// The kinds of the clusters; 0: nothing is written there.
using Kinds = std::vector<std::uint64_t>;

class Deduplication : public testing::Test {
 protected:
  Deduplication() { use_seed(1); }

  void use_seed(std::uint64_t seed) {
    loop_.reset();
    loop_ = std::make_unique<EventLoop>(std::make_unique<SimulatedScheduler>(seed));
  }

  format::Header header(std::uint64_t size_bytes, const Shape& shape) {
    CreateOptions options;
    options.size_bytes = size_bytes;
    options.cluster_size_bytes = shape.cluster_bytes;
    options.refcount_bits = shape.refcount_bits;
    options.compression = shape.compression;
    return *loop_->run(ops::new_image_header(options));
  }

  // The digest of a cluster is its kind.
  static SharingRules rules(std::size_t most_clusters) {
    SharingRules rules;
    rules.most_clusters = most_clusters;
    rules.digest = [](ConstBytes cluster, ClusterDigest& digest) {
      digest.fill(std::byte{0});
      std::memcpy(digest.data(), cluster.data(), sizeof(std::uint64_t));
    };
    return rules;
  }

  // The last cluster of the disk has only 512 bytes.
  static Content content_of(const Kinds& kinds, const Shape& shape) {
    Content content;
    for (const std::uint64_t kind : kinds) {
      const Content cluster = kind == 0 ? Content(shape.cluster_bytes) : cluster_of(kind, shape.cluster_bytes);
      content.insert(content.end(), cluster.begin(), cluster.end());
    }
    content.resize(content.size() - shape.cluster_bytes + 512);
    return content;
  }

  static Task<Result<void>> fill(Disk& disk, const Content& content, const Kinds& kinds, const Shape& shape) {
    TaskGroup group;
    for (std::size_t i = 0; i < kinds.size(); ++i) {
      const std::uint64_t at = i * shape.cluster_bytes;
      const ConstBytes data =
          ConstBytes(content).subspan(at, std::min<std::uint64_t>(shape.cluster_bytes, content.size() - at));
      if (kinds[i] != 0) group.start(disk.write_compressed(at, data));
    }
    co_return co_await group.join();
  }

  // `most_clusters` 0: without sharing.
  Content make(const Kinds& kinds, const Shape& shape, std::size_t most_clusters = 1 << 20, bool rising = true) {
    const Content content = content_of(kinds, shape);
    MemoryStorage memory;
    NewImageDisk disk(memory, header(content.size(), shape), rising);
    if (most_clusters > 0) disk.share(rules(most_clusters));
    EXPECT_TRUE(loop_->run(disk.begin()));
    const auto filled = loop_->run(fill(disk, content, kinds, shape));
    EXPECT_TRUE(filled) << filled.error().message();
    const auto closed = loop_->run(disk.close());
    EXPECT_TRUE(closed) << closed.error().message();
    return memory.content();
  }

  std::unique_ptr<Disk> open(const Content& image, bool writable = false) {
    OpenOptions options;
    options.format = "qcow2";
    options.writable = writable;
    auto storage = std::make_unique<MemoryStorage>(ConstBytes(image));
    storage_ = storage.get();
    auto disk = loop_->run(open_disk(std::move(storage), std::move(options)));
    EXPECT_TRUE(disk) << disk.error().message();
    return std::move(*disk);
  }

  Content read(Disk& disk) {
    Content content(disk.size_bytes());
    const Bytes target(content);
    EXPECT_TRUE(loop_->run(disk.read(0, target)));
    return content;
  }

  void expect_sound(const Content& image) { EXPECT_EQ(findings_of(*loop_, image), ""); }

  void expect_image_of(const Content& image, const Kinds& kinds, const Shape& shape) {
    expect_sound(image);
    const auto disk = open(image);
    EXPECT_TRUE(read(*disk) == content_of(kinds, shape));
    EXPECT_TRUE(loop_->run(disk->close()));
  }

  // How many payloads there are, and how many references the host cluster that has the most.
  struct Sharing {
    std::size_t payloads = 0;
    std::size_t most_references = 0;
  };
  Sharing sharing(const Content& image) {
    MemoryStorage storage{ConstBytes(image)};
    const format::Header header = *loop_->run(read_header(storage, format::HeaderUse::read));
    const format::Geometry geometry = header.geometry();
    std::set<std::uint64_t> payloads;
    std::map<std::uint64_t, std::size_t> references;
    for (std::uint64_t i = 0; i < header.l1_entries; ++i) {
      const auto l1 = format::decode_l1_entry(geometry, load_be64(image.data() + header.l1_table.bytes + i * 8));
      for (std::uint64_t j = 0; l1->l2_table.bytes != 0 && j < geometry.l2_entries(); ++j) {
        const std::byte* const raw = image.data() + l1->l2_table.bytes + j * 8;
        const auto entry = format::decode_l2_entry(geometry, raw);
        if (entry->kind != format::ClusterKind::compressed) continue;
        payloads.insert(load_be64(raw));
        const format::CompressedExtent extent = entry->compressed;
        const std::uint64_t last = geometry.cluster_index(extent.offset + (extent.length_bytes - 1));
        for (std::uint64_t at = geometry.cluster_index(extent.offset); at <= last; ++at) ++references[at];
      }
    }
    Sharing result;
    result.payloads = payloads.size();
    for (const auto& [cluster, count] : references) result.most_references = std::max(result.most_references, count);
    return result;
  }

  static Kinds random_kinds(std::size_t count, std::uint64_t kinds, std::uint64_t seed) {
    SimulatedRandom random(seed);
    Kinds result(count);
    std::ranges::generate(result, [&] { return random.below(kinds + 1); });
    return result;
  }

  std::unique_ptr<EventLoop> loop_;
  MemoryStorage* storage_ = nullptr;  // of the disk opened last
};

constexpr Compression compressions[] = {Compression::zlib, Compression::zstd};

TEST_F(Deduplication, ReadsAsWrittenAndIsSound) {
  for (const std::uint64_t cluster : {512u, 1024u, 4096u, 65536u}) {
    for (const unsigned width : {1u, 2u, 8u, 16u, 64u}) {
      for (const Compression compression : compressions) {
        SCOPED_TRACE(fmt::format("cluster {}, width {}, zstd {}", cluster, width, compression == Compression::zstd));
        const Shape shape{cluster, width, compression};
        const Kinds kinds = random_kinds(examples(cluster == 65536 ? 300 : 1500), 30, cluster + width);
        const Content image = make(kinds, shape);
        expect_image_of(image, kinds, shape);
        const Content plain = make(kinds, shape, 0);
        if (width == 1) {
          EXPECT_TRUE(image == plain);
        } else if (width >= 8) {
          EXPECT_LT(image.size(), plain.size() / 2);
        }
      }
    }
  }
}

TEST_F(Deduplication, TheLargestClustersToo) {
  for (const Compression compression : compressions) {
    const Shape shape{2 << 20, 16, compression};
    const Kinds kinds{1, 2, 0, 1, 2, 2, 4, 4, 3};
    const Content image = make(kinds, shape);
    expect_image_of(image, kinds, shape);
    EXPECT_EQ(sharing(image).payloads, 4u);
    EXPECT_LT(image.size(), make(kinds, shape, 0).size());
  }
}

// Each cluster is there once, and takes a few bytes more than it has.
TEST_F(Deduplication, WithoutEqualClustersTakesHardlyMoreThanWithoutIt) {
  const Shape shape{4096, 16};
  Kinds kinds(1000);
  for (std::size_t i = 0; i < kinds.size(); ++i) kinds[i] = i % 7 == 3 ? 0 : i + 1;
  const Content image = make(kinds, shape);
  expect_image_of(image, kinds, shape);
  EXPECT_LT(image.size(), make(kinds, shape, 0).size() * 101 / 100);
}

// The model: of the first kinds that are met, all have one payload, of the others each its own.
std::size_t model(const Kinds& kinds, std::size_t most_clusters) {
  std::set<std::uint64_t> known;
  std::size_t payloads = 0;
  for (const std::uint64_t kind : kinds) {
    if (kind == 0 || known.contains(kind)) continue;
    ++payloads;
    if (known.size() < most_clusters) known.insert(kind);
  }
  return payloads;
}

TEST_F(Deduplication, SharesWhatItsTableRemembers) {
  const Shape shape{512, 32};
  for (const std::size_t most : {1u, 2u, 5u, 20u, 100u}) {
    const Kinds kinds = random_kinds(3000, 40, most);
    const Content image = make(kinds, shape, most);
    expect_image_of(image, kinds, shape);
    EXPECT_EQ(sharing(image).payloads, model(kinds, most)) << most;
  }
}

TEST_F(Deduplication, CountsReachTheirLimitsAndNotMore) {
  const std::pair<unsigned, std::size_t> limits[] = {{2, 3}, {4, 15}, {8, 255}, {16, 1023}};
  for (const auto& [width, most] : limits) {
    for (const std::size_t table : {2u, 100u}) {
      SCOPED_TRACE(fmt::format("width {}, {} in the table", width, table));
      const Shape shape{512, width};
      const Kinds kinds = random_kinds(4000, 3, width);
      const Content image = make(kinds, shape, table);
      expect_image_of(image, kinds, shape);
      EXPECT_EQ(sharing(image).most_references, most);
      EXPECT_GT(sharing(image).payloads, 3000 / most);
    }
  }
}

// Which clusters are compressed depends on what was faster, but the file does not.
TEST_F(Deduplication, DependsOnTheOrderOfTheCallsAlone) {
  for (const Compression compression : compressions) {
    for (const unsigned width : {2u, 16u}) {
      const Shape shape{512, width, compression};
      const Kinds kinds = random_kinds(200, 6, 5);
      use_seed(1);
      const Content first = make(kinds, shape, 4);
      for (std::uint64_t seed = 2; seed < 12; ++seed) {
        use_seed(seed);
        EXPECT_TRUE(make(kinds, shape, 4) == first) << seed;
      }
      expect_image_of(make(kinds, shape, 4, false), kinds, shape);
    }
  }
}

// What is shared is copied before it is written, and freed with its last reference.
TEST_F(Deduplication, TheImageCanBeWrittenDiscardedAndHaveSnapshots) {
  for (const std::uint64_t cluster : {512u, 4096u}) {
    for (const unsigned width : {2u, 16u}) {
      const Shape shape{cluster, width};
      const Kinds kinds = random_kinds(600, 8, width);
      Content expected = content_of(kinds, shape);
      const auto disk = open(make(kinds, shape), true);
      SimulatedRandom random(width);
      for (int i = 0; i < 300; ++i) {
        if (i == 100 && width == 16) {
          NewSnapshot snapshot;
          snapshot.name = "kept";
          ASSERT_TRUE(loop_->run(create_snapshot(*disk, snapshot)));
        }
        const std::uint64_t length = 1 + random.below(6 * cluster);
        const std::uint64_t at = random.below(expected.size() - length);
        const bool discard = random.one_in(4);
        const Content data(length, static_cast<std::byte>(i));
        const auto done = loop_->run(discard ? disk->write_zeroes(at, length, ZeroMode::unmap) : disk->write(at, data));
        ASSERT_TRUE(done) << done.error().message();
        std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(at), length,
                    discard ? std::byte{0} : static_cast<std::byte>(i));
      }
      if (width == 16) {
        ASSERT_TRUE(loop_->run(delete_snapshot(*disk, "kept")));
      }
      EXPECT_TRUE(read(*disk) == expected);
      ASSERT_TRUE(loop_->run(disk->close()));
      expect_sound(storage_->content());
    }
  }
}

TEST_F(Deduplication, OnceCancelledLetsNobodyWait) {
  const Shape shape{4096, 2};
  Kinds kinds = random_kinds(64, 3, 1);
  kinds.back() = 0;
  const Content content = content_of(kinds, shape);
  std::atomic<bool> cancel{false};
  MemoryStorage memory;
  NewImageDisk disk(memory, header(2 * content.size() + 4096 - 512, shape), true, &cancel);
  disk.share(rules(100));
  ASSERT_TRUE(loop_->run(disk.begin()));
  ASSERT_TRUE(loop_->run(fill(disk, content, kinds, shape)));
  cancel = true;
  TaskGroup group;
  for (std::uint64_t i = 0; i < 16; ++i) {
    group.start(disk.write_compressed((64 + i) * 4096, ConstBytes(content).subspan(i * 4096, 4096)));
  }
  const auto done = loop_->run(group.join());
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), ErrorCode::cancelled);
}

}  // namespace
}  // namespace byre::test
