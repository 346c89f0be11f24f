// libFuzzer target: the input is an image. It is decoded for every use, read, repaired and used, and changed by requests
// in flight at once whose kinds, places and order follow from a hash of the input.
//
//   cmake --build --preset release --target fuzz
//   build/tests/hostile_images corpus
//   build/tests/engine_fuzzer -max_len=262144 -timeout=10 -rss_limit_mb=1024 found corpus/rules corpus/seeds
//
// The mutator knows what an image is made of: words at multiples of 4 and 8, most of them zero. It moves, copies and
// bends those that are not, beside what libFuzzer does by itself.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>

#include "format/header.h"
#include "support/hostile_run.h"

namespace {

using byre::test::HostileImage;

constexpr std::size_t least_bytes = 104;

std::uint64_t hash_of(const std::uint8_t* data, std::size_t size) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (std::size_t i = 0; i < size; ++i) hash = (hash ^ data[i]) * 0x100000001b3;
  return hash;
}

std::uint64_t load(const std::uint8_t* at) { return byre::load_be64(reinterpret_cast<const std::byte*>(at)); }
void store(std::uint8_t* at, std::uint64_t value) { byre::store_be64(reinterpret_cast<std::byte*>(at), value); }

// The offset of a word that is not zero, if one is found soon.
std::size_t pick_word(const std::uint8_t* data, std::size_t size, std::mt19937_64& random) {
  const std::size_t words = std::min<std::size_t>(size, 64 << 10) / 8;
  for (int tries = 0; tries < 1000; ++tries) {
    const std::size_t at = random() % words * 8;
    if (load(data + at) != 0) return at;
  }
  return random() % words * 8;
}

void bend(std::uint8_t* data, std::size_t size, std::mt19937_64& random) {
  const std::size_t at = pick_word(data, size, random);
  const std::uint64_t old = load(data + at);
  const std::uint64_t cluster = std::uint64_t{1} << (9 + random() % 8);
  switch (random() % 9) {
    case 0: store(data + at, old ^ std::uint64_t{1} << 63); break;
    case 1: store(data + at, old ^ std::uint64_t{1} << 62); break;
    case 2: store(data + at, old ^ 1); break;
    case 3: store(data + at, old + cluster); break;
    case 4: store(data + at, old - cluster); break;
    case 5: store(data + at, old ^ std::uint64_t{1} << random() % 64); break;
    case 6: store(data + at, load(data + pick_word(data, size, random))); break;
    case 7: store(data + pick_word(data, size, random) / 512 * 512 + random() % 64 * 8 % 512, old); break;
    default: store(data + at, 0); break;
  }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  std::mt19937_64 random(seed);
  if (size < 1024 || random() % 4 == 0) return LLVMFuzzerMutate(data, size, max_size);
  for (std::uint64_t i = 1 + random() % 3; i > 0; --i) bend(data, size, random);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < least_bytes) return 0;
  HostileImage image;
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  image.bytes.assign(bytes, bytes + size);
  for (const auto use : {byre::format::HeaderUse::read, byre::format::HeaderUse::write,
                         byre::format::HeaderUse::inspect, byre::format::HeaderUse::repair}) {
    [[maybe_unused]] const auto header = byre::format::decode_header(image.bytes, size, use);
  }
  if (!byre::test::read_everything(image)) __builtin_trap();
  if (!byre::test::repair_and_use(image, hash_of(data, size)).empty()) __builtin_trap();
  const auto storage = byre::test::storage_of(image);
  byre::test::change_everything(*storage, hash_of(data, size));
  return 0;
}
