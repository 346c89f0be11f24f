// Makes a qcow2 image of 1 GiB in memory and serves it as a network block device until the last client has left.
//   serve_memory_image SOCKET &
//   nbdinfo "nbd+unix:///?socket=SOCKET"
#include <cstdio>

#include "byre/nbd/server.h"
#include "byre/ops/create.h"
#include "byre/storage/memory.h"
#include "byre/task/pollers.h"

namespace {

byre::Task<byre::Result<void>> serve(std::string socket) {
  auto storage = std::make_unique<byre::MemoryStorage>();
  byre::CreateOptions create;
  create.size_bytes = std::uint64_t{1} << 30;
  BYRE_CO_CHECK(co_await byre::create_qcow2(*storage, create));
  byre::OpenOptions open;
  open.format = "qcow2";
  open.writable = true;
  BYRE_CO_TRY(auto disk, co_await byre::open_disk(std::move(storage), open));

  byre::nbd::ServerOptions options;
  options.ends_with_last_client = true;
  std::vector<byre::nbd::Export> exports(1);  // one, without a name
  exports[0].part.disk = disk.get();
  BYRE_CO_TRY(auto server, byre::nbd::Server::make(std::move(exports), options));
  std::vector<byre::Listener> listeners;
  BYRE_CO_TRY(auto listener, byre::Listener::on_path(std::move(socket)));
  listeners.push_back(std::move(listener));
  std::puts("listening");
  std::fflush(stdout);
  const auto served = co_await server->run(std::move(listeners));
  const auto closed = co_await disk->close();
  co_return served ? closed : served;
}

}  // namespace

int main(int count, char** words) {
  if (count != 2) {
    std::fprintf(stderr, "usage: %s SOCKET\n", words[0]);
    return 2;
  }
  auto loop = byre::make_event_loop();
  if (!loop) return 1;
  const auto done = (*loop)->run(serve(words[1]));
  if (!done) std::fprintf(stderr, "%s\n", done.error().message().c_str());
  return done ? 0 : 1;
}
