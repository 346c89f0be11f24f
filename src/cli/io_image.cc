// Commands about the image as a whole, and about the session itself.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "base/math.h"
#include "base/text.h"
#include "byre/task/event_loop.h"
#include "cli/io_commands.h"
#include "cli/io_output.h"
#include "cli/output.h"
#include "format/header.h"
#include "format/limits.h"
#include "ops/create_options.h"

namespace byre::cli {

namespace {

using format::sector_bytes;

bool succeeded(const Result<void>& result) {
  if (!result) print_error(result.error());
  return result.has_value();
}

std::string size_text(std::uint64_t size_bytes) { return io_size(static_cast<double>(size_bytes)); }

// Calls layer_status() until the range is covered; what is present and what is not comes in maximal stretches.
struct LayerStretch {
  std::uint64_t offset_bytes;
  std::uint64_t length_bytes;
  bool present;
};
Task<Result<std::vector<LayerStretch>>> layer_stretches(Disk& disk, std::uint64_t begin, std::uint64_t end) {
  std::vector<LayerStretch> stretches;
  while (begin < end) {
    BYRE_CO_TRY(const BlockStatus status, co_await disk.layer_status(begin, end - begin));
    if (!stretches.empty() && stretches.back().present == status.present) {
      stretches.back().length_bytes += status.length_bytes;
    } else {
      stretches.push_back({begin, status.length_bytes, status.present});
    }
    begin += status.length_bytes;
  }
  co_return stretches;
}

Task<bool> run_map(IoSession& session, const IoWords&) {
  auto stretches = co_await layer_stretches(*session.disk(), 0, session.disk()->size_bytes());
  if (!stretches) {
    print_io_failure("map", stretches.error());
    co_return false;
  }
  for (const LayerStretch& stretch : *stretches) {
    print(fmt::format("{} ({:#x}) bytes {} at offset {} ({:#x})\n", size_text(stretch.length_bytes),
                      stretch.length_bytes, stretch.present ? "    allocated" : "not allocated",
                      size_text(stretch.offset_bytes), stretch.offset_bytes));
  }
  co_return true;
}

Task<bool> run_alloc(IoSession& session, const IoWords& words) {
  const std::uint64_t size = session.disk()->size_bytes();
  const auto offset = read_number(words.rest()[0]);
  if (!offset) co_return false;
  const auto count = words.rest().size() > 1 ? read_number(words.rest()[1]) : std::optional(sector_bytes);
  if (!count) co_return false;
  const std::uint64_t begin = std::min(*offset, size);
  const std::uint64_t length = std::min(*count, size - begin);
  auto stretches = co_await layer_stretches(*session.disk(), begin, begin + length);
  if (!stretches) {
    print_io_failure("alloc", stretches.error());
    co_return false;
  }
  std::uint64_t present = 0;
  for (const LayerStretch& stretch : *stretches) present += stretch.present ? stretch.length_bytes : 0;
  print(fmt::format("{}/{} bytes allocated at offset {}\n", present, length, size_text(*offset)));
  co_return true;
}

Task<bool> run_length(IoSession& session, const IoWords&) {
  print(size_text(session.disk()->size_bytes()) + "\n");
  co_return true;
}

Task<Result<format::Header>> read_header(Disk& disk) {
  const std::uint64_t file_size = disk.storage().size_bytes();
  Buffer buffer(std::min(disk.cluster_size_bytes(), file_size));
  const Bytes bytes = buffer.bytes();
  BYRE_CO_CHECK(co_await read_exactly(disk.storage(), 0, bytes));
  co_return format::decode_header(bytes, file_size, format::HeaderUse::read);
}

void print_header(const format::Header& header) {
  const auto has = [&](std::uint64_t bit) { return (header.compatible_features & bit) != 0 ? "true" : "false"; };
  std::string text = "Format specific information:\n";
  text += fmt::format("    compat: {}\n", header.version == 2 ? "0.10" : "1.1");
  text += fmt::format("    compression type: {}\n",
                      header.compression_type == format::CompressionType::zstd ? "zstd" : "zlib");
  if (header.version > 2) text += fmt::format("    lazy refcounts: {}\n", has(format::compatible::lazy_refcounts));
  text += fmt::format("    refcount bits: {}\n", 1u << header.refcount_order);
  if (header.version > 2) {
    text += fmt::format("    corrupt: {}\n", header.is_corrupt());
    text += fmt::format("    extended l2: {}\n", header.geometry().extended_l2);
  }
  print(text);
}

Task<bool> run_info(IoSession& session, const IoWords&) {
  Disk& disk = *session.disk();
  print(fmt::format("format name: {}\ncluster size: {}\n", disk.format(), size_text(disk.cluster_size_bytes())));
  if (disk.format() != "qcow2") {
    print("vm state offset: 0 bytes\n");
    co_return true;
  }
  const Result<format::Header> header = co_await read_header(disk);
  if (!header) {
    print_error(header.error());
    co_return false;
  }
  const GuestOffset vm_state = header->geometry().vm_state_start(disk.size_bytes());
  print(fmt::format("vm state offset: {}\n", size_text(vm_state.bytes)));
  print_header(*header);
  co_return true;
}

Task<bool> run_flush(IoSession& session, const IoWords&) { co_return succeeded(co_await session.disk()->flush()); }

Task<bool> run_truncate(IoSession& session, const IoWords& words) {
  if (words.rest().size() != 1) co_return fail_with_usage("truncate");
  const auto size = read_number(words.rest()[0]);
  if (!size) co_return false;
  const std::string mode = words.value('m').value_or("off");
  const std::optional<Preallocation> preallocation = ops::preallocation_named(mode);
  if (!preallocation) {
    print_error(
        fmt::format("preallocation mode '{}': off, metadata, falloc and full are known", escape_untrusted(mode)));
    co_return false;
  }
  (void)co_await session.in_flight().join();
  const std::uint64_t size_bytes = *size;
  co_return succeeded(co_await session.disk()->resize(size_bytes, *preallocation));
}

Task<bool> run_sleep(IoSession&, const IoWords& words) {
  char* end = nullptr;
  const std::string& word = words.rest()[0];
  const long milliseconds = std::strtol(word.c_str(), &end, 0);
  if (word.empty() || *end != '\0' || milliseconds < 0) {
    print(fmt::format("{} is not a valid number\n", escape_untrusted(word)));
    co_return false;
  }
  co_await offload([milliseconds] { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); });
  co_return true;
}

bool parse_cache(const std::optional<std::string>& word, IoOpenSettings& settings) {
  if (!word) return true;
  const auto mode = parse_cache_mode(*word);
  if (mode) settings.flags.cache = *mode;
  if (!mode) print_error(fmt::format("Invalid cache option: {}", escape_untrusted(*word)));
  return mode.has_value();
}

bool parse_discard(const std::optional<std::string>& word, IoOpenSettings& settings) {
  if (!word) return true;
  const bool known = *word == "unmap" || *word == "on" || *word == "ignore" || *word == "off";
  settings.discard = *word == "unmap" || *word == "on";
  if (!known) print_error(fmt::format("Invalid discard option: {}", escape_untrusted(*word)));
  return known;
}

// Options of a reopening go before those of the opening.
void add_open_options(const std::optional<std::string>& word, IoOpenSettings& settings) {
  if (!word) return;
  settings.flags.format.reset();
  settings.options = settings.options ? *settings.options + ',' + *word : *word;
}

Task<bool> run_open(IoSession& session, const IoWords& words) {
  IoOpenSettings settings;
  if (words.has('n')) settings.flags.cache = CacheMode::none;
  settings.read_only = words.has('r');
  settings.copy_on_read = words.has('C');
  settings.throw_away = words.has('s');
  settings.flags.force_share = words.has('U');
  if (!parse_cache(words.value('t'), settings) || !parse_discard(words.value('d'), settings)) co_return false;
  add_open_options(words.value('o'), settings);
  if (words.rest().size() != 1 && !(words.rest().empty() && settings.options)) co_return fail_with_usage("open");
  if (session.disk()) {
    print_error("file open already, try 'help close'");
    co_return false;
  }
  const std::string path = words.rest().empty() ? "" : words.rest()[0];
  const Result<void> opened = co_await session.open(path, std::move(settings));
  if (!opened) print_error(Error(opened.error()).with_context("can't open device " + escape_untrusted(path)));
  co_return opened.has_value();
}

Task<bool> run_reopen(IoSession& session, const IoWords& words) {
  IoOpenSettings settings = session.settings();
  if (words.has('r') && words.has('w')) {
    print_error("Only one -r/-w option may be given");
    co_return false;
  }
  if (words.has('r') || words.has('w')) settings.read_only = words.has('r');
  if (!parse_cache(words.value('c'), settings)) co_return false;
  add_open_options(words.value('o'), settings);
  if (!words.rest().empty()) co_return fail_with_usage("reopen");
  co_return succeeded(co_await session.reopen(std::move(settings)));
}

Task<bool> run_close(IoSession& session, const IoWords&) { co_return succeeded(co_await session.close()); }

Task<bool> run_quit(IoSession& session, const IoWords&) {
  session.quit = true;
  co_return true;
}

// What a crash leaves behind.
Task<bool> run_abort(IoSession&, const IoWords&) { std::abort(); }

Task<bool> run_sigraise(IoSession&, const IoWords& words) {
  const auto signal = read_number(words.rest()[0]);
  if (!signal) co_return false;
  if (*signal > 64) {
    print(fmt::format("{} is not a valid signal number\n", escape_untrusted(words.rest()[0])));
    co_return false;
  }
  (void)finish_output(0);
  co_return std::raise(static_cast<int>(*signal)) == 0;
}

std::vector<const IoCommand*> all_commands() {
  std::vector<const IoCommand*> commands;
  for (const IoCommand& command : io_transfer_commands()) commands.push_back(&command);
  for (const IoCommand& command : io_image_commands()) commands.push_back(&command);
  for (const IoCommand& command : io_break_commands()) commands.push_back(&command);
  std::ranges::sort(commands, {}, &IoCommand::name);
  return commands;
}

Task<bool> run_help(IoSession&, const IoWords& words) {
  if (words.rest().empty()) {
    for (const IoCommand* command : all_commands()) print_io_usage(command->name);
    print("\nUse 'help commandname' for extended help.\n");
    co_return true;
  }
  const IoCommand* command = find_io_command(words.rest()[0]);
  if (command) {
    print_io_usage(command->name);
  } else {
    print(fmt::format("command {} not found\n", escape_untrusted(words.rest()[0])));
  }
  co_return command != nullptr;
}

constexpr IoCommand image_commands[] = {
    {"abort", "", 0, 0, false, false, "", "", "ends the program as a crash does", run_abort},
    {"alloc", "", 1, 2, true, false, "", "offset [count]", "checks if offset is allocated in the file", run_alloc},
    {"close", "c", 0, 0, true, false, "", "", "closes the current open file", run_close},
    {"flush", "f", 0, 0, true, false, "", "", "flushes all in-core file state to disk", run_flush},
    {"help", "?", 0, 1, false, false, "", "[command]", "help for one or all commands", run_help},
    {"info", "i", 0, 0, true, false, "", "", "prints information about the current file", run_info},
    {"length", "l", 0, 0, true, false, "", "", "gets the length of the current file", run_length},
    {"map", "", 0, 0, true, false, "", "", "prints the allocated areas of a file", run_map},
    {"open", "o", 1, -1, false, false, "rsnCUt:d:o:", "[-rsnCU] [-t cache] [-d discard] [-o options] [path]",
     "opens the file specified by path", run_open},
    {"quit", "q", 0, -1, false, false, "", "", "exits the program", run_quit},
    {"reopen", "", 0, -1, true, false, "rwc:o:", "[(-r|-w)] [-c cache] [-o options]",
     "reopens an image with new options", run_reopen},
    {"sigraise", "", 1, 1, false, false, "", "signal", "raises a signal", run_sigraise},
    {"sleep", "", 1, 1, false, false, "", "milliseconds", "waits for the given value in milliseconds", run_sleep},
    {"truncate", "t", 1, 3, true, true, "m:", "[-m prealloc_mode] off",
     "truncates the current file at the given offset", run_truncate},
};

}  // namespace

std::span<const IoCommand> io_image_commands() { return image_commands; }

}  // namespace byre::cli
