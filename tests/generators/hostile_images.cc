// hostile_images DIRECTORY: writes the collection as files, and what is to be expected of each.
//
//   rules/*.qcow2      one image each, sparse where it says so
//   rules/expected     lines of: file, rule, reading, writing, inspection, separated by tabs
//   fields/*.qcow2     images with one nasty value each, of which nothing special is expected
//   seeds/*.qcow2      images in order, small: where a fuzzer can begin

#include "support/hostile_images.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "support/snapshot_image.h"

namespace {

using byre::test::HostileImage;
using byre::test::OnRead;
using byre::test::OnWrite;

const char* word(OnRead reaction) {
  switch (reaction) {
    case OnRead::refused_at_open: return "refused";
    case OnRead::fails: return "fails";
    case OnRead::works: return "works";
  }
  return "";
}

const char* word(OnWrite reaction) {
  switch (reaction) {
    case OnWrite::refused_at_open: return "refused";
    case OnWrite::fails: return "fails";
    case OnWrite::marks_corrupt: return "marks";
    case OnWrite::marks_when_flushed: return "marks-when-flushed";
    case OnWrite::works: return "works";
  }
  return "";
}

bool write_image(const std::filesystem::path& path, const HostileImage& image) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(image.bytes.data()), static_cast<std::streamsize>(image.bytes.size()));
  file.close();
  // A file system without room for so long a file is no fault of the image.
  const bool sized =
      image.file_size_bytes == 0 || ::truncate(path.c_str(), static_cast<off_t>(image.size_bytes())) == 0;
  if (!sized) std::filesystem::remove(path);
  return file.good() && sized;
}

void write_seeds(const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory);
  for (const unsigned version : {2u, 3u}) {
    for (const unsigned cluster_bits : {9u, 10u}) {
      HostileImage seed;
      seed.bytes = byre::test::sample_image(version, cluster_bits).take();
      write_image(directory / fmt::format("v{}-{}.qcow2", version, cluster_bits), seed);
      if (!byre::test::add_snapshot(seed.bytes, "1")) continue;
      write_image(directory / fmt::format("v{}-{}-snapshot.qcow2", version, cluster_bits), seed);
    }
  }
}

}  // namespace

int main(int argument_count, char** arguments) {
  if (argument_count != 2) {
    fmt::print(stderr, "usage: hostile_images DIRECTORY\n");
    return 1;
  }
  const std::filesystem::path directory(arguments[1]);
  std::filesystem::create_directories(directory / "rules");
  std::filesystem::create_directories(directory / "fields");
  std::ofstream expected(directory / "rules" / "expected");
  for (const HostileImage& image : byre::test::hostile_images()) {
    const std::string name = image.file_name() + ".qcow2";
    if (!write_image(directory / "rules" / name, image)) continue;
    expected << fmt::format("{}\t{}\t{}\t{}\t{}\n", name, image.rule, word(image.reaction.read),
                            word(image.reaction.write), image.info_refused ? "refused" : "any");
  }
  std::size_t number = 0;
  for (const HostileImage& image : byre::test::hostile_fields()) {
    write_image(directory / "fields" / fmt::format("{:04}-{}.qcow2", number++, image.file_name()), image);
  }
  write_seeds(directory / "seeds");
  return 0;
}
