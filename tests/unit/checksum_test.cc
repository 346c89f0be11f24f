#include "byre/ops/checksum.h"

#include <gtest/gtest.h>

#include <random>

#include "byre/ops/convert.h"
#include "byre/ops/create.h"
#include "byre/ops/snapshot.h"
#include "byre/storage/simulated.h"
#include "byre/task/pollers.h"
#include "support/counting_storage.h"
#include "support/fake_disk.h"
#include "support/reference_checksum.h"
#include "support/temporary_directory.h"

namespace byre {
namespace {

using test::FakeDisk;
using test::FakeRequest;
using test::reference_checksum;
using Kind = FakeRequest::Kind;

constexpr std::uint64_t KiB = 1 << 10;
constexpr std::uint64_t MiB = 1 << 20;
constexpr std::uint64_t TiB = std::uint64_t{1} << 40;

std::vector<std::byte> noise(std::size_t length_bytes, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(length_bytes);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() >> 8);
  return bytes;
}

// Noise in two thirds of the blocks, the others unknown to the status or known as zeros.
void make_mixed(FakeDisk& disk) {
  for (std::uint64_t at = 0, block = 0; at < disk.size_bytes(); at += 64 * KiB, ++block) {
    if (block % 3 == 1) continue;
    const std::uint64_t length = std::min(64 * KiB - block % 5 * 4 * KiB, disk.size_bytes() - at);
    disk.fill(at, length, 0);
    if (block % 7 == 6) continue;
    const auto bytes = noise(length, static_cast<unsigned>(block));
    std::ranges::copy(bytes, disk.content.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

class ChecksumTest : public ::testing::Test {
 protected:
  std::string checksum(Disk& disk, ChecksumOptions options = {}) {
    const auto sum = loop_->run(checksum_disk(disk, options));
    if (!sum) return sum.error().message();
    return checksum_text(*sum);
  }
  std::string checksum(const std::string& path, std::optional<std::string> snapshot = std::nullopt) {
    OpenOptions options;
    options.snapshot = std::move(snapshot);
    const auto disk = loop_->run(open_disk(path, options));
    if (!disk) return disk.error().message();
    const std::string text = checksum(**disk);
    EXPECT_TRUE(loop_->run((*disk)->close()));
    return text;
  }

  std::unique_ptr<EventLoop> loop_ = std::make_unique<EventLoop>(std::make_unique<SimulatedScheduler>(1));
};

TEST_F(ChecksumTest, IsWhatItsDefinitionSays) {
  const std::uint64_t sizes[] = {
      0, 512, 64 * KiB, 64 * KiB + 512, 3 * MiB + 512, 16 * MiB - 512, 16 * MiB, 16 * MiB + 512, 33 * MiB};
  for (const std::uint64_t size : sizes) {
    FakeDisk disk(size);
    make_mixed(disk);
    ChecksumOptions options;
    EXPECT_EQ(checksum(disk, options), reference_checksum(disk.content)) << size;
    options.algorithm = ChecksumAlgorithm::blake2b;
    EXPECT_EQ(checksum(disk, options), reference_checksum(disk.content, "blake2b")) << size;
  }
}

// Computed once by the program in docs/checksum.md: the definition stays what it is.
TEST_F(ChecksumTest, HasKnownAnswers) {
  FakeDisk empty(0);
  EXPECT_EQ(checksum(empty), "byre1-sha256:3adf20c4a4ab177dc39099e27f2844a1fe0af02da7a0b7f6179cbc6effc7e8f1");
  FakeDisk ones(20 * MiB);
  ones.fill(0, 20 * MiB, 1);
  EXPECT_EQ(checksum(ones), "byre1-sha256:e92030282ac57d2be66673af2aa7ed72212f9b25655f887f358760e8212ffbc5");
  ChecksumOptions options;
  options.algorithm = ChecksumAlgorithm::blake2b;
  EXPECT_EQ(checksum(ones, options),
            "byre1-blake2b:"
            "3acd222805caefae0bdd3d27d564094d2edd07ca7de141bed5560660e1227f47f8d76a7dae62773a8a13e9b887d92e32e4e3e1d75e"
            "b2693aebde1cbb73036719");
}

TEST_F(ChecksumTest, OfEightTebibytesOfHolesReadsNothing) {
  auto state = std::make_shared<test::CountingStorage::State>();
  auto storage = std::make_unique<test::CountingStorage>(state);
  CreateOptions create;
  create.size_bytes = 8 * TiB;
  ASSERT_TRUE(loop_->run(create_qcow2(*storage, create)));
  OpenOptions open;
  open.format = "qcow2";
  const auto disk = loop_->run(open_disk(std::move(storage), open));
  ASSERT_TRUE(disk) << disk.error().message();
  const std::uint64_t before = state->read_bytes;
  EXPECT_EQ(checksum(**disk), "byre1-sha256:c602de90ea7146bfa390193f3bdf6dc4e23c9843178ede5710a4ac5efc48d5bc");
  EXPECT_EQ(state->read_bytes, before);
  EXPECT_TRUE(loop_->run((*disk)->close()));
}

TEST_F(ChecksumTest, ChangesWithEveryByte) {
  FakeDisk disk(17 * MiB + 1024);
  make_mixed(disk);
  const std::string before = checksum(disk);
  for (const std::uint64_t at :
       {std::uint64_t{0}, 64 * KiB - 1, 64 * KiB, MiB, 16 * MiB - 1, 16 * MiB, 17 * MiB, disk.size_bytes() - 1}) {
    const std::byte old = disk.content[at];
    disk.fill(at, 1, static_cast<unsigned char>(old) ^ 0x10);
    EXPECT_NE(checksum(disk), before) << at;
    disk.content[at] = old;
  }
  EXPECT_EQ(checksum(disk), before);
}

TEST_F(ChecksumTest, ChangesWithTheOrderOfBlocks) {
  FakeDisk disk(40 * MiB);
  make_mixed(disk);
  const std::string before = checksum(disk);
  const auto swap = [&](std::uint64_t a, std::uint64_t b, std::uint64_t length) {
    const auto begin = disk.content.begin();
    std::swap_ranges(begin + static_cast<std::ptrdiff_t>(a), begin + static_cast<std::ptrdiff_t>(a + length),
                     begin + static_cast<std::ptrdiff_t>(b));
  };
  disk.fill(39 * MiB, MiB, 9);
  disk.has_data.assign(disk.has_data.size(), true);
  const std::string filled = checksum(disk);
  EXPECT_NE(filled, before);
  swap(0, 2 * 64 * KiB, 64 * KiB);
  EXPECT_NE(checksum(disk), filled);
  swap(0, 2 * 64 * KiB, 64 * KiB);
  swap(0, 16 * MiB, 16 * MiB);  // whole nodes
  EXPECT_NE(checksum(disk), filled);
}

TEST_F(ChecksumTest, ChangesWithTheSizeAlone) {
  std::vector<std::string> sums;
  for (const std::uint64_t size :
       {std::uint64_t{0}, std::uint64_t{512}, 64 * KiB, 64 * KiB + 512, 16 * MiB, 16 * MiB + 512, 32 * MiB}) {
    FakeDisk disk(size);
    sums.push_back(checksum(disk));
  }
  std::ranges::sort(sums);
  EXPECT_EQ(std::ranges::adjacent_find(sums), sums.end());
}

TEST_F(ChecksumTest, CountsStoredZerosAsZerosAndTheLastSectorAsAWhole) {
  FakeDisk holes(20 * MiB);
  FakeDisk stored(20 * MiB);
  stored.fill(MiB, 18 * MiB, 0);
  EXPECT_EQ(checksum(stored), checksum(holes));
  FakeDisk odd(64 * KiB + 1);
  FakeDisk whole(64 * KiB + 512);
  odd.fill(64 * KiB, 1, 5);
  whole.fill(64 * KiB, 1, 5);
  EXPECT_EQ(checksum(odd), checksum(whole));
}

TEST_F(ChecksumTest, ReadsBlocksThatMayHoldDataAndNoOthers) {
  FakeDisk disk(64 * MiB);
  disk.fill(5 * MiB + 4 * KiB, 4 * KiB, 7);
  disk.fill(9 * MiB - 4 * KiB, 8 * KiB, 7);
  disk.fill(32 * MiB + 64 * KiB, 128 * KiB, 7);
  disk.fill(34 * MiB - 64 * KiB, 128 * KiB, 7);
  EXPECT_EQ(checksum(disk), reference_checksum(disk.content));
  const std::vector<FakeRequest> expected = {
      {Kind::read, 5 * MiB, 64 * KiB},
      {Kind::read, 9 * MiB - 64 * KiB, 128 * KiB},
      {Kind::read, 32 * MiB + 64 * KiB, 128 * KiB},
      {Kind::read, 34 * MiB - 64 * KiB, 64 * KiB},
      {Kind::read, 34 * MiB, 64 * KiB},
  };
  EXPECT_EQ(disk.log, expected);
}

TEST_F(ChecksumTest, ReadsInLargeRequestsSeveralAtATime) {
  FakeDisk disk(64 * MiB);
  disk.fill(0, 64 * MiB, 7);
  disk.turns = [](const FakeRequest&) { return 50u; };
  for (const unsigned parallel : {1u, 3u, 16u, 100u}) {
    disk.log.clear();
    disk.most_in_flight = 0;
    ChecksumOptions options;
    options.parallel_requests = parallel;
    EXPECT_EQ(checksum(disk, options), reference_checksum(disk.content));
    EXPECT_EQ(disk.most_in_flight, std::min(parallel, 16u));
    EXPECT_EQ(disk.log.size(), 32u);
  }
}

TEST_F(ChecksumTest, DependsOnNeitherParallelismNorTiming) {
  FakeDisk disk(33 * MiB);
  make_mixed(disk);
  const std::string expected = reference_checksum(disk.content);
  for (unsigned seed = 1; seed <= 20; ++seed) {
    loop_ = std::make_unique<EventLoop>(std::make_unique<SimulatedScheduler>(seed));
    disk.turns = [seed](const FakeRequest& request) {
      return static_cast<unsigned>(request.offset_bytes / (64 * KiB) * 2654435761u * seed >> 5) % 40;
    };
    ChecksumOptions options;
    options.parallel_requests = seed % 17;
    EXPECT_EQ(checksum(disk, options), expected) << seed;
  }
  loop_ = make_event_loop().value();  // with threads
  EXPECT_EQ(checksum(disk), expected);
}

TEST_F(ChecksumTest, EndsWithTheFirstErrorOfTheDisk) {
  FakeDisk disk(40 * MiB);
  make_mixed(disk);
  for (const std::uint64_t bad : {std::uint64_t{0}, 17 * MiB, 40 * MiB - 512}) {
    disk.fill(bad, 512, 3);
    disk.fails = [bad](const FakeRequest& request) {
      return bad >= request.offset_bytes && bad < request.offset_bytes + request.length_bytes;
    };
    const auto outcome = loop_->run(checksum_disk(disk, {}));
    ASSERT_FALSE(outcome) << bad;
    EXPECT_EQ(outcome.error().code(), ErrorCode::io);
  }
  disk.fails = nullptr;
  disk.status_fails_at = 20 * MiB;
  const auto outcome = loop_->run(checksum_disk(disk, {}));
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().message(), "fake status");
}

TEST_F(ChecksumTest, EndsWhenItIsCancelled) {
  FakeDisk disk(40 * MiB);
  make_mixed(disk);
  std::atomic<bool> cancel{false};
  ChecksumOptions options;
  options.cancel = &cancel;
  options.parallel_requests = 1;
  options.progress = [&](std::uint64_t done_bytes, std::uint64_t) {
    if (done_bytes >= 10 * MiB) cancel = true;
  };
  const auto outcome = loop_->run(checksum_disk(disk, options));
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code(), ErrorCode::cancelled);
  EXPECT_LT(disk.log.back().offset_bytes, 14 * MiB);
}

TEST_F(ChecksumTest, TellsHowFarItIs) {
  FakeDisk disk(41 * MiB + 512);
  make_mixed(disk);
  std::vector<std::uint64_t> told;
  ChecksumOptions options;
  options.progress = [&](std::uint64_t done_bytes, std::uint64_t total_bytes) {
    EXPECT_EQ(total_bytes, 41 * MiB + 512);
    told.push_back(done_bytes);
  };
  checksum(disk, options);
  EXPECT_GE(told.size(), 20u);
  EXPECT_TRUE(std::ranges::is_sorted(told));
  EXPECT_EQ(told.back(), 41 * MiB + 512);
}

TEST_F(ChecksumTest, IsReadBackFromItsText) {
  FakeDisk disk(MiB);
  for (const ChecksumAlgorithm algorithm : {ChecksumAlgorithm::sha256, ChecksumAlgorithm::blake2b}) {
    ChecksumOptions options;
    options.algorithm = algorithm;
    const auto sum = loop_->run(checksum_disk(disk, options));
    ASSERT_TRUE(sum);
    const std::string text = checksum_text(*sum);
    const auto again = parse_checksum(text);
    ASSERT_TRUE(again) << text;
    EXPECT_EQ(*again, *sum);
    for (const std::string& wrong :
         {text.substr(1), text + "0", text.substr(0, text.size() - 1), text.substr(0, text.find(':')),
          text.substr(text.find(':') + 1), text.substr(0, text.size() - 2) + "0x",
          text.substr(0, text.size() - 2) + "+1", text.substr(0, text.size() - 2) + " 1",
          std::string("byre2") + text.substr(5), std::string()}) {
      EXPECT_FALSE(parse_checksum(wrong)) << wrong;
    }
  }
  const std::string digits(62, 'a');
  EXPECT_EQ(parse_checksum("byre1-sha256:" + digits + "fF").value(),
            parse_checksum("byre1-sha256:" + digits + "Ff").value());
}

class StoredChecksum : public ChecksumTest {
 protected:
  StoredChecksum() { loop_ = make_event_loop().value(); }
  std::string path(const std::string& name) const { return directory_.file(name); }
  void convert(const std::string& from, const std::string& to, CreateOptions target, bool compress) {
    ConvertOptions options;
    options.target = std::move(target);
    options.copy.compress = compress;
    const std::vector<NodeDescription> sources = {path(from)};
    const auto done = loop_->run(convert_images(sources, path(to), options));
    ASSERT_TRUE(done) << done.error().message();
  }
  template <class Function>
  void change(const std::string& name, Function function) {
    OpenOptions options;
    options.format = name.ends_with("raw") ? "raw" : "qcow2";
    options.writable = true;
    const auto disk = loop_->run(open_disk(path(name), options));
    ASSERT_TRUE(disk) << disk.error().message();
    function(**disk);
    EXPECT_TRUE(loop_->run((*disk)->close()));
  }
  // A raw file with noise, bytes that compress well, zeros and holes.
  std::vector<std::byte> make_source() {
    std::vector<std::byte> content(5 * MiB + 3 * 512);
    CreateOptions raw;
    raw.format = "raw";
    raw.size_bytes = content.size();
    EXPECT_TRUE(loop_->run(create_image(path("raw"), raw, CacheMode::writeback)));
    const auto write = [&](std::uint64_t offset, const std::vector<std::byte>& bytes) {
      change("raw", [&](Disk& disk) { ASSERT_TRUE(loop_->run(disk.write(offset, bytes))); });
      std::ranges::copy(bytes, content.begin() + static_cast<std::ptrdiff_t>(offset));
    };
    write(100, noise(300'007));
    write(MiB, std::vector<std::byte>(MiB + 7, std::byte{'x'}));
    write(3 * MiB - 5000, std::vector<std::byte>(10000));
    write(content.size() - 700, noise(700, 2));
    return content;
  }

  TemporaryDirectory directory_;
};

TEST_F(StoredChecksum, IsTheSameForEveryWayToStoreTheContent) {
  const std::string expected = reference_checksum(make_source());
  EXPECT_EQ(checksum(path("raw")), expected);
  for (std::uint64_t cluster_size = 512; cluster_size <= 2 * MiB; cluster_size *= 2) {
    CreateOptions target;
    target.cluster_size_bytes = cluster_size;
    for (const Compression compression : {Compression::zlib, Compression::zstd}) {
      target.compression = compression;
      convert("raw", "compressed", target, true);
      EXPECT_EQ(checksum(path("compressed")), expected) << cluster_size;
    }
    target.compression = Compression::zlib;
    for (const unsigned version : {2u, 3u}) {
      target.version = version;
      convert("compressed", "plain", target, false);
      EXPECT_EQ(checksum(path("plain")), expected) << cluster_size << " version " << version;
    }
  }
}

// A backing file shorter than the disk, holes over it, zero clusters, overwritten and compressed ones; and a snapshot.
TEST_F(StoredChecksum, IsTheSameForChainsZeroClustersAndSnapshots) {
  std::vector<std::byte> content = make_source();
  convert("raw", "below", {}, true);
  CreateOptions overlay;
  overlay.size_bytes = 6 * MiB;
  overlay.cluster_size_bytes = 4 * KiB;
  overlay.backing_file = "below";
  overlay.backing_format = "qcow2";
  ASSERT_TRUE(loop_->run(create_image(path("overlay"), overlay, CacheMode::writeback)));
  content.resize(6 * MiB);
  EXPECT_EQ(checksum(path("overlay")), reference_checksum(content));
  const auto bytes = noise(100'000, 3);
  change("overlay", [&](Disk& disk) {
    ASSERT_TRUE(loop_->run(disk.write(200'000, bytes)));
    ASSERT_TRUE(loop_->run(disk.write_zeroes(MiB + 64 * KiB, 512 * KiB, ZeroMode::unmap)));
    ASSERT_TRUE(loop_->run(disk.write_zeroes(2 * MiB, 4 * KiB, ZeroMode::keep)));
  });
  std::ranges::copy(bytes, content.begin() + 200'000);
  std::fill_n(content.begin() + MiB + 64 * KiB, 512 * KiB, std::byte{0});
  std::fill_n(content.begin() + 2 * MiB, 4 * KiB, std::byte{0});
  const std::string expected = reference_checksum(content);
  EXPECT_EQ(checksum(path("overlay")), expected);
  change("overlay", [&](Disk& disk) {
    NewSnapshot snapshot;
    snapshot.name = "kept";
    ASSERT_TRUE(loop_->run(create_snapshot(disk, snapshot)));
    ASSERT_TRUE(loop_->run(disk.write(0, bytes)));
  });
  EXPECT_EQ(checksum(path("overlay"), "kept"), expected);
  EXPECT_NE(checksum(path("overlay")), expected);
}

}  // namespace
}  // namespace byre
