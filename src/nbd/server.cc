// Each connection is a coroutine from its acceptance to its end, and owns its socket; the server ends what takes too
// long by shutting that socket down, and never waits for a client's goodwill: stopping, too, has a deadline.

#include "byre/nbd/server.h"

#include <algorithm>
#include <cerrno>
#include <list>
#include <utility>

#include "base/text.h"
#include "byre/task/alarm.h"
#include "byre/task/pause.h"
#include "byre/task/sync.h"
#include "nbd/negotiation.h"
#include "nbd/transmission.h"

namespace byre::nbd {
namespace {

using Clock = Alarm::Clock;

// Where the system lacks something for another connection, some time later it may not.
constexpr std::chrono::milliseconds pause_after_exhaustion{100};

bool is_exhaustion(const Error& error) {
  const int number = error.errno_value();
  return number == EMFILE || number == ENFILE || number == ENOBUFS || number == ENOMEM;
}

struct Connection {
  Socket socket;
  std::string peer;
  Clock::time_point deadline = Clock::time_point::max();
  bool negotiating = true;
  bool has_place = false;
};

class LoopServer final : public Server {
 public:
  LoopServer(std::vector<Export> exports, ServerOptions options, std::unique_ptr<TlsContext> tls, Alarm alarm)
      : exports_(std::move(exports)), options_(std::move(options)), tls_(std::move(tls)), alarm_(std::move(alarm)) {}

  Task<Result<void>> run(std::vector<Listener> listeners) override;
  void stop() override;

 private:
  Task<Result<void>> accept_from(Listener& listener);
  Task<Result<void>> handle(std::list<Connection>::iterator connection);
  Task<Result<void>> converse(Connection& connection);
  Task<Result<void>> watch_time();
  bool take_place(Connection& connection);
  void leave(std::list<Connection>::iterator connection);
  void make_room_for_negotiation();
  void set_alarm();
  void log(LogLevel level, std::string_view message) const {
    if (options_.log) options_.log(level, message);
  }

  std::vector<Export> exports_;
  ServerOptions options_;
  std::unique_ptr<TlsContext> tls_;  // null: none
  Alarm alarm_;
  std::vector<Listener> listeners_;
  std::list<Connection> connections_;  // the oldest first
  TaskGroup handling_;
  WaitQueue places_;  // waited for while all are taken
  unsigned taken_places_ = 0;
  std::uint64_t accepted_ = 0;
  bool stopping_ = false;
  BufferShelf shelf_;
  bool accepting_ = false;
};

Task<Result<void>> LoopServer::run(std::vector<Listener> listeners) {
  listeners_ = std::move(listeners);
  accepting_ = true;
  TaskGroup watching;
  watching.start(watch_time());
  TaskGroup accepting;
  for (Listener& listener : listeners_) accepting.start(accept_from(listener));
  const Result<void> accepted = co_await accepting.join();
  accepting_ = false;
  stop();
  [[maybe_unused]] const Result<void> handled = co_await handling_.join();  // each was logged
  set_alarm();
  [[maybe_unused]] const Result<void> watched = co_await watching.join();
  listeners_.clear();
  co_return accepted;
}

void LoopServer::stop() {
  if (std::exchange(stopping_, true)) return;
  log(LogLevel::note, "stopping: no more requests are taken");
  for (Listener& listener : listeners_) listener.stop();
  for (Connection& connection : connections_) {
    if (connection.negotiating) {
      connection.socket.shut_down();
    } else {
      connection.socket.shut_down_receiving();
      connection.deadline = Clock::now() + options_.limits.negotiation_time;
    }
  }
  places_.wake_all();
  set_alarm();
}

Task<Result<void>> LoopServer::accept_from(Listener& listener) {
  for (;;) {
    auto socket = co_await listener.accept();
    if (!socket && socket.error().code() == ErrorCode::cancelled) co_return Result<void>{};
    if (!socket && is_exhaustion(socket.error())) {
      log(LogLevel::warning, socket.error().message());
      co_await pause_for(pause_after_exhaustion);
      continue;
    }
    if (!socket) {
      stop();
      co_return std::unexpected(std::move(socket).error());
    }
    // It is greeted when there is room for it; those behind it wait in the system's queue.
    while (taken_places_ >= options_.limits.connections && !stopping_) co_await places_.wait();
    if (stopping_) co_return Result<void>{};
    make_room_for_negotiation();
    connections_.push_back({*std::move(socket), fmt::format("client {} at {}", ++accepted_, listener.name()),
                            Clock::now() + options_.limits.negotiation_time});
    set_alarm();
    handling_.start(handle(std::prev(connections_.end())));
  }
}

// One that is being shut down counts no more.
void LoopServer::make_room_for_negotiation() {
  const auto waits = [](const Connection& connection) {
    return connection.negotiating && connection.deadline != Clock::time_point::max();
  };
  if (std::ranges::count_if(connections_, waits) < options_.limits.negotiations) return;
  Connection& oldest = *std::ranges::find_if(connections_, waits);
  oldest.deadline = Clock::time_point::max();
  oldest.socket.shut_down();
}

Task<Result<void>> LoopServer::handle(std::list<Connection>::iterator connection) {
  const Result<void> outcome = co_await converse(*connection);
  if (!outcome) log(LogLevel::warning, fmt::format("{}: {}", connection->peer, outcome.error().message()));
  leave(connection);
  co_return Result<void>{};
}

Task<Result<void>> LoopServer::converse(Connection& connection) {
  Wire wire(connection.socket, tls_.get());
  Negotiation::Policy policy;
  policy.take_place = [this, &connection] { return take_place(connection); };
  policy.is_stopping = [this] { return stopping_; };
  Negotiation negotiation(exports_, options_, policy, wire);
  BYRE_CO_TRY(Agreement agreement, co_await negotiation.run());
  if (!agreement.exported || stopping_) co_return Result<void>{};
  connection.negotiating = false;
  connection.deadline = Clock::time_point::max();
  Transmission transmission(std::move(agreement), options_, stopping_, wire, shelf_);
  const Result<void> transmitted = co_await transmission.run();
  co_await wire.finish();
  co_return transmitted;
}

bool LoopServer::take_place(Connection& connection) {
  if (connection.has_place) return true;
  if (taken_places_ >= options_.limits.connections) return false;
  ++taken_places_;
  connection.has_place = true;
  return true;
}

void LoopServer::leave(std::list<Connection>::iterator connection) {
  const bool had_place = connection->has_place;
  connections_.erase(connection);
  if (!had_place) return;
  --taken_places_;
  places_.wake_all();
  if (options_.ends_with_last_client && taken_places_ == 0) stop();
}

// Rings for the deadline that comes first, and once more when all is over.
void LoopServer::set_alarm() {
  if (stopping_ && !accepting_ && connections_.empty()) {
    alarm_.set(Clock::now());
    return;
  }
  Clock::time_point first = Clock::time_point::max();
  for (const Connection& connection : connections_) first = std::min(first, connection.deadline);
  if (first != Clock::time_point::max()) alarm_.set(first);
}

Task<Result<void>> LoopServer::watch_time() {
  for (;;) {
    BYRE_CO_CHECK(co_await alarm_.wait());
    if (stopping_ && !accepting_ && connections_.empty()) co_return Result<void>{};
    const Clock::time_point now = Clock::now();
    for (Connection& connection : connections_) {
      if (connection.deadline > now) continue;
      connection.deadline = Clock::time_point::max();
      log(LogLevel::warning,
          fmt::format("{}: {}", connection.peer,
                      connection.negotiating ? "took too long to negotiate" : "does not take its replies"));
      connection.socket.shut_down();
    }
    set_alarm();
  }
}

Result<void> check(const Export& exported) {
  if (exported.name.size() > longest_string_bytes || exported.description.size() > longest_string_bytes) {
    return fail(ErrorCode::invalid_argument, "an export's name and description have at most {} bytes",
                longest_string_bytes);
  }
  return exported.part.check();
}

}  // namespace

Result<std::unique_ptr<Server>> Server::make(std::vector<Export> exports, ServerOptions options) {
  for (std::size_t i = 0; i < exports.size(); ++i) {
    BYRE_CHECK(check(exports[i]));
    if (std::ranges::find(exports.begin() + static_cast<std::ptrdiff_t>(i) + 1, exports.end(), exports[i].name,
                          &Export::name) != exports.end()) {
      return fail(ErrorCode::invalid_argument, "two exports have the name '{}'", escape_untrusted(exports[i].name));
    }
  }
  BYRE_TRY(Alarm alarm, Alarm::make());
  std::unique_ptr<TlsContext> tls;
  if (options.tls.mode != TlsMode::off) {
    BYRE_TRY(tls, TlsContext::make(options.tls));
  }
  return std::make_unique<LoopServer>(std::move(exports), std::move(options), std::move(tls), std::move(alarm));
}

}  // namespace byre::nbd
