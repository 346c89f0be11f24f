// forked_tool CPU_SECONDS WALL_SECONDS: the tool for a test that runs it thousands of times with a sanitizer, whose
// start takes longer than most commands do. It is started once and forks for each command line. A child is in the state
// of a tool that has come to main(), runs to exit() as that does, leak check included, and has the limits that are
// given.
//
// Standard input is a socket that keeps packets apart. A request is one packet: the words of the command line,
// separated by NUL, with the descriptors of standard output, standard error and the working directory. The answer is
// one packet: wait status, microseconds of processor time, and peak memory in KiB, in decimal.

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/lsan_interface.h>
#define LOOK_FOR_LEAKS() __lsan_do_recoverable_leak_check()
#endif
#endif

namespace {

struct Limits {
  rlim_t cpu_seconds;
  unsigned wall_seconds;
};

struct Request {
  std::string words;
  std::array<int, 3> descriptors;  // standard output, standard error, working directory
};

// Nothing at the end of the requests. Whoever sends others than these is a test that is wrong: the program ends.
std::optional<Request> receive() {
  Request request{std::string(1 << 16, '\0'), {}};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof request.descriptors)> control{};
  iovec vector{request.words.data(), request.words.size()};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t count = ::recvmsg(STDIN_FILENO, &message, MSG_CMSG_CLOEXEC);
  if (count == 0) return std::nullopt;
  const cmsghdr* header = count > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
  const bool whole = header && header->cmsg_len == CMSG_LEN(sizeof request.descriptors);
  if (!whole || (message.msg_flags & MSG_TRUNC) != 0) std::abort();
  std::memcpy(request.descriptors.data(), CMSG_DATA(header), sizeof request.descriptors);
  request.words.resize(static_cast<std::size_t>(count));
  return request;
}

std::vector<char*> split(std::string& words) {
  std::vector<char*> arguments{words.data()};
  for (char& c : words) {
    if (c == '\0') arguments.push_back(&c + 1);
  }
  return arguments;
}

[[noreturn]] void run(Request request, const Limits& limits) {
  const rlimit cpu{limits.cpu_seconds, limits.cpu_seconds};
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const bool ready = ::setrlimit(RLIMIT_CPU, &cpu) == 0 && ::fchdir(request.descriptors[2]) == 0 &&
                     ::dup2(nothing, STDIN_FILENO) >= 0 && ::dup2(request.descriptors[0], STDOUT_FILENO) >= 0 &&
                     ::dup2(request.descriptors[1], STDERR_FILENO) >= 0;
  if (!ready) std::abort();
  ::close(nothing);
  for (const int descriptor : request.descriptors) ::close(descriptor);
  ::alarm(limits.wall_seconds);
  std::vector<char*> arguments = split(request.words);
  const int count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  std::exit(byre::cli::run_tool(count, arguments.data()));
}

void answer(pid_t child) {
  int status = 0;
  rusage usage{};
  if (::wait4(child, &status, 0, &usage) != child) std::abort();
  const long long microseconds =
      (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1'000'000LL + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
  const std::string text =
      std::to_string(status) + " " + std::to_string(microseconds) + " " + std::to_string(usage.ru_maxrss);
  if (::send(STDIN_FILENO, text.data(), text.size(), MSG_NOSIGNAL) < 0) std::abort();
}

}  // namespace

int main(int argument_count, char** arguments) {
  if (argument_count != 3) {
    std::fprintf(stderr, "usage: forked_tool CPU_SECONDS WALL_SECONDS\n");
    return 2;
  }
  const Limits limits{std::strtoul(arguments[1], nullptr, 10),
                      static_cast<unsigned>(std::strtoul(arguments[2], nullptr, 10))};
#ifdef LOOK_FOR_LEAKS
  LOOK_FOR_LEAKS();  // maps the pages that the check reads: children have them then
#endif
  while (std::optional<Request> request = receive()) {
    const pid_t child = ::fork();
    if (child < 0) std::abort();
    if (child == 0) run(*std::move(request), limits);
    for (const int descriptor : request->descriptors) ::close(descriptor);
    answer(child);
  }
  return 0;
}
