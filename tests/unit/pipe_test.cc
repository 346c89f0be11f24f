// Streams: written from front to back or not at all, read with what has passed lost unless it is kept; images on them.

#include "byre/storage/pipe.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <numeric>
#include <thread>

#include "byre/ops/copy.h"
#include "byre/ops/create.h"
#include "byre/storage/memory.h"
#include "byre/task/pollers.h"
#include "data/load.h"
#include "data/new_image.h"
#include "data/piped_disk.h"
#include "data/piped_image.h"
#include "ops/piped_image.h"
#include "support/fake_disk.h"
#include "support/findings.h"

namespace byre::test {
namespace {

using Content = std::vector<std::byte>;

class Pipe : public testing::Test {
 protected:
  Pipe() : loop(std::move(*make_event_loop(IoMode::threads))) {
    std::signal(SIGPIPE, SIG_IGN);
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    reader = Descriptor(ends[0]);
    writer = Descriptor(ends[1]);
  }
  ~Pipe() override {
    reader = Descriptor();
    writer = Descriptor();
    if (feeder.joinable()) feeder.join();
  }

  static Content numbers(std::size_t size_bytes) {
    Content content(size_bytes);
    for (std::size_t i = 0; i < size_bytes; ++i) content[i] = static_cast<std::byte>((i * 7 + i / 4096) % 251);
    return content;
  }

  // Comes through the pipe, whose end follows.
  void feed(Content content) {
    feeder = std::thread([content = std::move(content), end = std::move(writer)] {
      std::size_t done = 0;
      while (done < content.size()) {
        const ssize_t written = ::write(end.get(), content.data() + done, content.size() - done);
        if (written < 0) return;
        done += static_cast<std::size_t>(written);
      }
    });
  }

  Result<Content> read(PipeReader& pipe, std::uint64_t offset, std::size_t length) {
    Content target(length);
    auto got = loop->run(pipe.read(offset, target));
    if (!got) return std::unexpected(got.error());
    target.resize(*got);
    return target;
  }

  std::unique_ptr<EventLoop> loop;
  Descriptor reader, writer;
  std::thread feeder;
};

Content part(const Content& content, std::size_t offset, std::size_t length) {
  return {content.begin() + static_cast<std::ptrdiff_t>(offset),
          content.begin() + static_cast<std::ptrdiff_t>(offset + length)};
}

TEST_F(Pipe, IsWrittenFromFrontToBackOnly) {
  PipeWriter pipe(writer.get(), "out");
  const Content content = numbers(100);
  ASSERT_TRUE(loop->run(write_bytes(pipe, 0, content)));
  for (const std::uint64_t wrong : {0u, 99u, 101u}) {
    const auto done = loop->run(write_bytes(pipe, wrong, content));
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), ErrorCode::refused);
  }
  ASSERT_TRUE(loop->run(write_bytes(pipe, 100, content)));
  ASSERT_TRUE(loop->run(pipe.flush()));
  Content got(300);
  ASSERT_EQ(::read(reader.get(), got.data(), got.size()), 200);
  EXPECT_EQ(part(got, 100, 100), content);
}

TEST_F(Pipe, AReaderThatWentAwayIsAnError) {
  PipeWriter pipe(writer.get(), "out");
  reader = Descriptor();
  const Content content = numbers(1 << 20);
  const auto done = loop->run(write_bytes(pipe, 0, content));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().errno_value(), EPIPE);
}

TEST_F(Pipe, AWriterHearsAnInterruptWhileNobodyReads) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const Descriptor here(ends[0]);
  const Descriptor there(ends[1]);
  for (const int descriptor : {writer.get(), here.get()}) {
    std::atomic<bool> cancel = false;
    PipeWriter pipe(descriptor, "out", &cancel);
    std::thread interrupter([&cancel] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      cancel = true;
    });
    const Content content = numbers(8 << 20);
    const auto done = loop->run(write_bytes(pipe, 0, content));
    interrupter.join();
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), ErrorCode::cancelled);
  }
  EXPECT_EQ(::fcntl(writer.get(), F_GETFL) & O_NONBLOCK, 0) << "the descriptor of others was changed";
}

TEST_F(Pipe, AReaderHearsAnInterruptWhileNothingComes) {
  std::atomic<bool> cancel = false;
  PipeReader pipe(reader.get(), "in", &cancel);
  std::thread interrupter([&cancel] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    cancel = true;
  });
  const auto got = read(pipe, 0, 10);
  interrupter.join();
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code(), ErrorCode::cancelled);
}

TEST_F(Pipe, RemembersTheWindowAndNoMore) {
  const Content content = numbers((12 << 20) + 5);
  feed(content);
  PipeReader pipe(reader.get(), "in", nullptr, 4 << 20);
  EXPECT_EQ(*read(pipe, 100, 1000), part(content, 100, 1000));
  EXPECT_EQ(*read(pipe, 7 << 20, 1 << 20), part(content, 7 << 20, 1 << 20));
  EXPECT_EQ(*read(pipe, 4 << 20, 3 << 20), part(content, 4 << 20, 3 << 20)) << "inside the window";
  const auto lost = read(pipe, (4 << 20) - 1, 2);
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code(), ErrorCode::unsupported);
  EXPECT_EQ(*read(pipe, (12 << 20) - 5, 100), part(content, (12 << 20) - 5, 10)) << "short at the end";
  EXPECT_TRUE(read(pipe, 20 << 20, 10)->empty());
}

TEST_F(Pipe, KeepsWhatItIsTold) {
  const Content content = numbers(16 << 20);
  feed(content);
  PipeReader pipe(reader.get(), "in", nullptr, 3 << 20);
  const std::uint64_t length = 65536;
  const std::uint64_t here = 1 << 20;
  const std::uint64_t across = (6 << 20) - 512;
  ASSERT_TRUE(read(pipe, 0, (1 << 20) + 4096));  // a part of the first one has come
  ASSERT_TRUE(pipe.keep({across, here, here}, length, "table"));
  ASSERT_TRUE(read(pipe, 15 << 20, 1 << 20));
  for (const std::uint64_t at : {here, across}) {
    EXPECT_EQ(*read(pipe, at, length), part(content, at, length));
    EXPECT_EQ(*read(pipe, at + 1000, 100), part(content, at + 1000, 100));
  }
  EXPECT_FALSE(read(pipe, here - 1, 2));
  EXPECT_FALSE(read(pipe, here + length - 1, 2));
}

TEST_F(Pipe, RefusesToKeepWhatIsLostOrTooMuch) {
  feed(numbers(8 << 20));
  PipeReader pipe(reader.get(), "in", nullptr, 2 << 20);
  ASSERT_TRUE(read(pipe, 7 << 20, 1 << 20));
  const auto lost = pipe.keep({4096}, 4096, "table");
  ASSERT_FALSE(lost);
  EXPECT_NE(lost.error().message().find("the table at offset 4096"), std::string::npos) << lost.error().message();
  std::vector<std::uint64_t> many(PipeReader::most_kept_bytes / 65536 + 1);
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = (i + 1000) << 16;
  EXPECT_FALSE(pipe.keep(many, 65536, "table"));
}

TEST_F(Pipe, WhatAStreamDidNotBringIsNotZeros) {
  feed(numbers(1000));
  PipeReader pipe(reader.get(), "in");
  Content target(600);
  EXPECT_TRUE(loop->run(read_zero_filled(pipe, 400, target)));
  EXPECT_FALSE(loop->run(read_zero_filled(pipe, 401, target)));
}

TEST_F(Pipe, DrainReadsToTheEnd) {
  feed(numbers(5 << 20));
  PipeReader pipe(reader.get(), "in");
  ASSERT_TRUE(read(pipe, 0, 10));
  pipe.require(5 << 20);
  ASSERT_TRUE(loop->run(pipe.drain()));
  std::byte more{};
  EXPECT_EQ(::read(reader.get(), &more, 1), 0);
  pipe.require((5 << 20) + 1);
  EXPECT_FALSE(loop->run(pipe.drain())) << "it was too short";
}

// Places and counts of the data, against what they must be: nothing overlaps, and each cluster has as many references
// as things reach into it.
TEST(DataPlacer, CountsWhatItPlaces) {
  for (const unsigned order : {0u, 1u, 4u}) {
    format::Geometry geometry;
    geometry.cluster_bits = 9;
    geometry.refcount_order = order;
    DataPlacer placer(geometry);
    std::vector<std::uint64_t> references;
    std::uint64_t end = 0;
    for (std::uint64_t i = 0; i < 3000; ++i) {
      const std::uint64_t size = i % 7 == 0 ? 512 : 1 + i * 37 % 511;
      const std::uint64_t at = placer.place(size);
      ASSERT_GE(at, end);
      ASSERT_TRUE(size < 512 || at % 512 == 0);
      end = at + size;
      const std::size_t before = references.size();
      references.resize((end + 511) / 512);
      for (std::uint64_t cluster = at / 512; cluster <= (end - 1) / 512; ++cluster) ++references[cluster];
      ASSERT_LE(references.size(), before + 1);
      ASSERT_EQ(placer.clusters(), references.size());
      ASSERT_EQ(placer.last_references(), references.back());
    }
    EXPECT_LE(std::ranges::max(references), (std::uint64_t{1} << (1u << order)) - 1);
  }
}

class PipedImage : public Pipe {
 protected:
  static constexpr std::uint64_t block = FakeDisk::block_bytes;

  static CreateOptions create() {
    CreateOptions options;
    options.cluster_size_bytes = block;
    return options;
  }

  Result<void> write(FakeDisk& source, Storage& target, bool compress, bool search) {
    CopyOptions copy;
    copy.compress = compress;
    const std::vector<Disk*> sources = {&source};
    return loop->run(ops::write_piped_image(sources, target, create(), copy, search));
  }

  // Changes the source once it has been read so often.
  static void change_after(FakeDisk& source, unsigned reads, std::uint64_t offset, unsigned char value) {
    source.turns = [&source, reads, offset, value, seen = 0u](const FakeRequest& request) mutable {
      if (request.kind == FakeRequest::Kind::read && ++seen == reads) source.fill(offset, block, value);
      return 0u;
    };
  }
};

TEST_F(PipedImage, ReadsAsTheSource) {
  for (const bool compress : {false, true}) {
    FakeDisk source(40 * block + 512);
    for (unsigned i = 0; i < 40; i += 1 + i % 4) source.fill(i * block, block, static_cast<unsigned char>(i));
    MemoryStorage target;
    const auto written = write(source, target, compress, false);
    ASSERT_TRUE(written) << written.error().message();
    auto image = std::make_unique<MemoryStorage>(target.content());
    OpenOptions options;
    options.format = "qcow2";
    const auto disk = loop->run(open_disk(std::move(image), options));
    ASSERT_TRUE(disk) << disk.error().message();
    Content content(source.size_bytes());
    ASSERT_TRUE(loop->run((*disk)->read(0, content)));
    EXPECT_TRUE(content == source.content);
    ASSERT_TRUE(loop->run((*disk)->close()));
  }
}

TEST_F(PipedImage, ASourceThatGetsDataIsAnError) {
  FakeDisk source(4096 * block);
  source.fill(0, block, 1);
  source.fill(4000 * block, block, 1);
  change_after(source, 1, 4001 * block, 9);
  MemoryStorage target;
  const auto done = write(source, target, false, false);
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().message().find("has changed"), std::string::npos) << done.error().message();
}

TEST_F(PipedImage, ASourceThatLosesDataHasZerosThere) {
  FakeDisk source(4096 * block);
  source.fill(0, block, 1);
  for (unsigned i = 4000; i < 4004; ++i) source.fill(i * block, block, 1);
  change_after(source, 1, 4001 * block, 0);
  MemoryStorage target;
  ASSERT_TRUE(write(source, target, false, false));
  auto image = std::make_unique<MemoryStorage>(target.content());
  OpenOptions options;
  options.format = "qcow2";
  const auto disk = loop->run(open_disk(std::move(image), options));
  ASSERT_TRUE(disk);
  Content content(4 * block);
  ASSERT_TRUE(loop->run((*disk)->read(4000 * block, content)));
  EXPECT_EQ(content, part(source.content, 4000 * block, 4 * block));
  EXPECT_EQ(content[block], std::byte{0});
  ASSERT_TRUE(loop->run((*disk)->close()));
}

// Whatever happens to the payloads between the passes: an error, or an image of what the second one saw.
TEST_F(PipedImage, ACompressedSourceThatChangesIsNeverAWrongImage) {
  unsigned errors = 0;
  for (unsigned reads = 1; reads <= 6; ++reads) {
    for (const unsigned value : {0u, 3u}) {
      FakeDisk source(3 << 20);
      for (std::size_t i = 0; i < source.content.size(); ++i) source.content[i] = static_cast<std::byte>(i * i % 13);
      source.has_data.assign(source.has_data.size(), true);
      const Content before = source.content;
      change_after(source, reads, 2 * block, static_cast<unsigned char>(value));
      MemoryStorage target;
      const auto done = write(source, target, true, false);
      errors += done ? 0u : 1u;
      if (!done) continue;
      auto image = std::make_unique<MemoryStorage>(target.content());
      OpenOptions options;
      options.format = "qcow2";
      const auto disk = loop->run(open_disk(std::move(image), options));
      ASSERT_TRUE(disk);
      Content content(source.size_bytes());
      ASSERT_TRUE(loop->run((*disk)->read(0, content)));
      EXPECT_TRUE(content == source.content || content == before) << "change at read " << reads;
      ASSERT_TRUE(loop->run((*disk)->close()));
    }
  }
  EXPECT_GT(errors, 0u);
}

// An L1 table of 4 Mi entries that all name different tables: 32 MiB have come, and no more is taken for them.
TEST_F(PipedImage, WhatAnL1TableClaimsTakesNoMemory) {
  MemoryStorage made;
  CreateOptions options = create();
  options.cluster_size_bytes = 512;
  options.size_bytes = std::uint64_t{64} << 30;
  ASSERT_TRUE(loop->run(create_qcow2(made, options)));
  Content image = made.content();
  const auto header = loop->run(read_header(made, format::HeaderUse::read));
  ASSERT_TRUE(header);
  const std::uint64_t at = header->l1_table.bytes;
  image.resize(at + header->l1_entries * 8);
  for (std::uint64_t i = 0; i < header->l1_entries; ++i) {
    const std::uint64_t table = (std::uint64_t{1} << 63) | (i + (1 << 20)) * 512;
    for (unsigned byte = 0; byte < 8; ++byte)
      image[at + i * 8 + byte] = static_cast<std::byte>(table >> (56 - 8 * byte));
  }
  feed(std::move(image));
  const auto pipe = std::make_shared<PipeReader>(reader.get(), "in");
  const auto disk = loop->run(open_piped_image(pipe, OpenOptions{}));
  ASSERT_FALSE(disk);
  EXPECT_NE(disk.error().message().find("would have to be kept"), std::string::npos) << disk.error().message();
}

TEST_F(PipedImage, ANewImageGrowsWhileItIsWritten) {
  CreateOptions options = create();
  options.size_bytes = 0;
  MemoryStorage target;
  ASSERT_TRUE(loop->run(create_qcow2(target, options)));
  format::Header header = *loop->run(read_header(target, format::HeaderUse::write));
  NewImageDisk disk(target, std::move(header), true);
  ASSERT_TRUE(loop->run(disk.begin()));
  const Content content = numbers(3 * block);
  ASSERT_FALSE(loop->run(disk.write(0, content))) << "outside";
  ASSERT_TRUE(loop->run(disk.resize(3 * block, Preallocation::off)));
  ASSERT_TRUE(loop->run(disk.write(0, content)));
  ASSERT_TRUE(loop->run(disk.resize(1000 * block + 512, Preallocation::off)));
  const ConstBytes sector = ConstBytes(content).first(512);
  ASSERT_TRUE(loop->run(disk.write(1000 * block, sector)));
  EXPECT_FALSE(loop->run(disk.resize(std::uint64_t{1} << 62, Preallocation::off))) << "a larger L1 table than allowed";
  ASSERT_TRUE(loop->run(disk.close()));
  EXPECT_EQ(findings_of(*loop, target.content()), "");
  header = *loop->run(read_header(target, format::HeaderUse::read));
  EXPECT_EQ(header.virtual_size_bytes, 1000 * block + 512);
}

}  // namespace
}  // namespace byre::test
