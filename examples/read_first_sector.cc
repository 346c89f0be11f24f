// Reads the first sector of a disk, through qcow2, backing files, compression and all, and prints it as text.
//   read_first_sector IMAGE
#include <cstdio>

#include "byre/data/disk.h"
#include "byre/task/pollers.h"

namespace {

byre::Task<byre::Result<void>> read_first_sector(std::string path) {
  byre::OpenOptions options;
  options.format = "qcow2";       // never guessed from what an untrusted file contains
  options.backing.follow = true;  // the image may name other files; `backing.below` says which ones
  BYRE_CO_TRY(auto disk, co_await byre::open_disk(std::move(path), options));
  byre::Buffer sector(512);
  auto done = co_await disk->read(0, sector.bytes());
  auto closed = co_await disk->close();  // always, whatever happened before
  BYRE_CO_CHECK(done);
  BYRE_CO_CHECK(closed);
  std::fwrite(sector.data(), 1, sector.size(), stdout);
  co_return byre::Result<void>{};
}

}  // namespace

int main(int count, char** words) {
  if (count != 2) {
    std::fprintf(stderr, "usage: %s IMAGE\n", words[0]);
    return 2;
  }
  auto loop = byre::make_event_loop();
  if (!loop) return 1;
  const auto done = (*loop)->run(read_first_sector(words[1]));
  if (!done) std::fprintf(stderr, "%s\n", done.error().message().c_str());
  return done ? 0 : 1;
}
