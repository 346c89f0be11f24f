// damaged_images DIRECTORY: writes the collection of tests/support/damaged_images.h as files, and into `expected` lines
// of: file, exit code of a check, exit code of a repair of everything, separated by tabs.

#include "support/damaged_images.h"

#include <cstdio>
#include <filesystem>
#include <fstream>

int main(int argument_count, char** arguments) {
  using byre::test::Damage;
  if (argument_count != 2) {
    std::fprintf(stderr, "usage: damaged_images DIRECTORY\n");
    return 2;
  }
  const std::filesystem::path directory(arguments[1]);
  std::filesystem::create_directories(directory);
  std::ofstream expected(directory / "expected");
  for (const auto& image : byre::test::damaged_images()) {
    const std::string name = image.name + ".qcow2";
    std::ofstream file(directory / name, std::ios::binary);
    file.write(reinterpret_cast<const char*>(image.bytes.data()), static_cast<std::streamsize>(image.bytes.size()));
    const int code = image.damage == Damage::leaks ? 3 : image.damage == Damage::stops ? 1 : 2;
    expected << name << '\t' << (image.damage == Damage::payload ? 0 : code) << '\t' << 0 << '\n';
    if (!file.good()) return 1;
  }
  return expected.good() ? 0 : 1;
}
