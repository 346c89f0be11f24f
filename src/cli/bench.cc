// byre bench: sends requests at rising offsets and tells how long they took (the flags and the output of qemu-img
// bench).
//
// As many workers as the depth allows take one request after the other, so that this many are on their way at once. For
// a flush that drains the queue they come to an end first; one that does not is a request like the others.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/text.h"
#include "byre/base/buffer.h"
#include "byre/task/sync.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/loop.h"
#include "cli/output.h"
#include "cli/personality.h"

namespace byre::cli {

namespace {

// With qemu-img's values for what is not given.
struct Plan {
  std::uint64_t count = 75000;
  std::uint64_t depth = 64;
  std::uint64_t flush_interval = 0;  // 0: never
  std::uint64_t offset_bytes = 0;
  std::uint64_t request_bytes = 4096;
  std::uint64_t step_bytes = 0;  // 0: request_bytes
  std::uint64_t pattern = 0;     // a byte
  bool write = false;
  bool no_drain = false;

  std::uint64_t step() const { return step_bytes == 0 ? request_bytes : step_bytes; }
  bool flushes_drained() const { return flush_interval != 0 && !no_drain; }
  bool flushes_undrained() const { return flush_interval != 0 && no_drain; }
};

struct BenchArguments {
  std::string file;
  Plan plan;
  IoMode mode = IoMode::automatic;
  bool quiet = false;
  OutputFormat output = OutputFormat::human;
  OpenFlags open;
};

constexpr std::uint64_t most_depth = 65536;
constexpr std::uint64_t most_request_bytes = (std::uint64_t{1} << 31) - 1;

Result<> check_plan(const Plan& plan) {
  if (plan.depth == 0 || plan.depth > most_depth) {
    return fail(ErrorCode::invalid_argument, "-d must be between 1 and {}, not {}", most_depth, plan.depth);
  }
  if (plan.request_bytes == 0 || plan.request_bytes > most_request_bytes) {
    return fail(ErrorCode::invalid_argument, "-s must be between 1 and {} bytes, not {}", most_request_bytes,
                plan.request_bytes);
  }
  if (plan.pattern > 255) {
    return fail(ErrorCode::invalid_argument, "--pattern must be a byte, 0 to 255, not {}", plan.pattern);
  }
  if (plan.flush_interval == 0) return {};
  if (!plan.write) return fail(ErrorCode::invalid_argument, "--flush-interval is for writes: give -w too");
  if (plan.flush_interval < plan.depth) {
    return fail(ErrorCode::invalid_argument, "--flush-interval ({}) must not be smaller than the depth ({})",
                plan.flush_interval, plan.depth);
  }
  return {};
}

Result<> check_fits(const Plan& plan, const Disk& disk, const std::string& file) {
  const std::uint64_t size = disk.size_bytes();
  if (plan.count == 0 || (plan.request_bytes <= size && plan.offset_bytes <= size - plan.request_bytes)) return {};
  return fail(ErrorCode::invalid_argument, "{}: a request of {} bytes at offset {} does not fit into {} bytes",
              escape_untrusted(file), plan.request_bytes, plan.offset_bytes, size);
}

class Bench {
 public:
  Bench(Disk& disk, const Plan& plan)
      : disk_(disk), plan_(plan), buffer_(plan.request_bytes), next_bytes_(plan.offset_bytes), left_(plan.count) {
    std::ranges::fill(buffer_.bytes(), static_cast<std::byte>(plan.pattern));
  }

  Task<Result<void>> run() {
    while (left_ > 0) {
      stop_at_ = plan_.flushes_drained() ? (left_ - 1) / plan_.flush_interval * plan_.flush_interval : 0;
      TaskGroup workers;
      for (std::uint64_t i = 0; i < plan_.depth && left_ > stop_at_; ++i) workers.start(work());
      BYRE_CO_CHECK(co_await workers.join());
      if (plan_.flushes_drained()) BYRE_CO_CHECK(co_await disk_.flush());
    }
    co_return Result<void>{};
  }

 private:
  Task<Result<void>> work() {
    while (left_ > stop_at_ && !failed_) {
      --left_;
      const std::uint64_t at = take_offset();
      const bool flush_behind = plan_.flushes_undrained() && left_ % plan_.flush_interval == 0;
      auto done = co_await request(at);
      if (done && flush_behind) done = co_await disk_.flush();
      if (!done) {
        failed_ = true;
        co_return done;
      }
    }
    co_return Result<void>{};
  }

  Task<Result<void>> request(std::uint64_t at) {
    if (plan_.write) co_return co_await disk_.write(at, buffer_.bytes());
    co_return co_await disk_.read(at, buffer_.bytes());
  }

  // A request that would end behind the disk begins at its start instead.
  std::uint64_t take_offset() {
    const std::uint64_t at = next_bytes_;
    const std::uint64_t last = disk_.size_bytes() - plan_.request_bytes;
    next_bytes_ = plan_.step() > last - at ? 0 : at + plan_.step();
    return at;
  }

  Disk& disk_;
  const Plan& plan_;
  Buffer buffer_;  // of all requests: what is read is thrown away
  std::uint64_t next_bytes_;
  std::uint64_t left_;         // requests not sent yet
  std::uint64_t stop_at_ = 0;  // workers end when so many are left
  bool failed_ = false;
};

void announce(const Plan& plan) {
  print(fmt::format("Sending {} {} requests, {} bytes each, {} in parallel (starting at offset {}, step size {})\n",
                    plan.count, plan.write ? "write" : "read", plan.request_bytes, plan.depth, plan.offset_bytes,
                    plan.step()));
  if (plan.flush_interval != 0) {
    print(fmt::format("Sending flush every {} requests\n", plan.flush_interval));
  }
  flush_output();
}

void print_result(const Plan& plan, double seconds) {
  const double count = static_cast<double>(plan.count);
  Json json;
  json["count"] = plan.count;
  json["depth"] = plan.depth;
  json["request-size"] = plan.request_bytes;
  json["write"] = plan.write;
  json["seconds"] = seconds;
  json["requests-per-second"] = seconds > 0 ? count / seconds : 0;
  json["bytes-per-second"] = seconds > 0 ? count * static_cast<double>(plan.request_bytes) / seconds : 0;
  print_json(json);
}

// With qemu-img, -q has no effect on these lines.
bool is_quiet(const BenchArguments& arguments) { return arguments.quiet && !personality().plain_results; }

Task<Result<double>> bench(const BenchArguments& arguments) {
  const Plan& plan = arguments.plan;
  OpenOptions options = open_options(arguments.open, arguments.quiet);
  options.writable = plan.write;
  options.probe_for_writing = personality().plain_results;
  BYRE_CO_TRY(const std::unique_ptr<Disk> disk,
              co_await open_image(arguments.file, arguments.open, std::move(options)));
  Result<void> done = check_fits(plan, *disk, arguments.file);
  const bool human = arguments.output == OutputFormat::human && !is_quiet(arguments);
  if (done && human) announce(plan);
  const auto begin = std::chrono::steady_clock::now();
  if (done) {
    Bench run(*disk, plan);
    done = co_await run.run();
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  const auto closed = co_await disk->close();
  BYRE_CO_CHECK(done);
  BYRE_CO_CHECK(closed);
  co_return seconds.count();
}

int run_bench(const BenchArguments& arguments) {
  if (const auto checked = check_plan(arguments.plan); !checked) return report(checked);
  const auto seconds = run_on_loop(bench(arguments), arguments.mode);
  if (!seconds) return report(std::unexpected(seconds.error()));
  if (arguments.output == OutputFormat::json) {
    print_result(arguments.plan, *seconds);
  } else if (!is_quiet(arguments)) {
    print(fmt::format("Run completed in {:.3f} seconds.\n", *seconds));
  }
  return exit_success;
}

void add_plan(Parser& parser, Plan& plan) {
  parser.add_flag("-w,--write", plan.write, "write, instead of reading: what the disk holds is lost");
  add_size(parser, "-c,--count", plan.count, "number of requests (default 75000)");
  add_size(parser, "-d,--depth", plan.depth, "requests on their way at once (default 64)");
  add_size(parser, "-s,--buffer-size", plan.request_bytes, "size of a request (default 4096)");
  add_size(parser, "-S,--step-size", plan.step_bytes, "from one request to the next (default: its size)");
  add_size(parser, "-o,--offset", plan.offset_bytes, "where the first request begins (default 0)");
  add_size(parser, "--pattern", plan.pattern, "the byte to write (default 0)");
  add_size(parser, "--flush-interval", plan.flush_interval,
           "after so many writes wait for those on their way, then flush");
  parser.add_flag("--no-drain", plan.no_drain, "send flushes without waiting for writes on their way");
}

}  // namespace

void register_bench(Cli& cli) {
  auto [parser, arguments] = cli.add<BenchArguments>(
      {"bench", "Send requests to an image and tell how long they take",
       "  byre bench -c 100000 -d 32 disk.qcow2\n"
       "  byre bench -w -t none -s 64k --pattern 7 --flush-interval 1000 scratch.qcow2   (overwrites)\n\n"
       "A request that would end behind the disk begins at its start instead.\n"},
      run_bench);
  parser.add_option("file", arguments.file, "the image").required();
  add_plan(parser, arguments.plan);
  BenchArguments& target = arguments;
  add_aio(parser, arguments.mode);
  parser.add_flag("-n,--native", [&target] { target.mode = IoMode::uring; }, "the same as -i native");
  add_cache_mode(parser, "-t,--cache", arguments.open.cache, "how the image file is opened");
  add_quiet(parser, arguments.quiet);
  add_output(parser, arguments.output);
  add_open_flags(parser, arguments.open);
}

}  // namespace byre::cli
