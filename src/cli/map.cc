// byre map: where the bytes of a disk are (docs/format.md C-15, C-16). Entries are printed as they are found, so that
// memory does not grow with the disk; the last one is held back until it is known not to go on.
#include <algorithm>

#include "byre/data/disk.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/loop.h"
#include "cli/map_svg.h"
#include "cli/output.h"
#include "cli/personality.h"

namespace byre::cli {

namespace {

struct MapArguments {
  std::string file;
  std::optional<std::uint64_t> start_bytes;
  std::optional<std::uint64_t> max_length_bytes;
  std::optional<std::string> snapshot;
  std::string output = "human";
  OpenFlags open;
};

struct Entry {
  std::uint64_t start_bytes = 0;
  BlockStatus status;
};

bool continues(const Entry& entry, const Entry& next) {
  const BlockStatus& a = entry.status;
  const BlockStatus& b = next.status;
  if (a.depth != b.depth || a.present != b.present || a.zero != b.zero || a.data != b.data) return false;
  if (a.compressed != b.compressed || a.host_offset_bytes.has_value() != b.host_offset_bytes.has_value()) return false;
  return !a.host_offset_bytes || *a.host_offset_bytes + a.length_bytes == *b.host_offset_bytes;
}

class JsonPrinter {
 public:
  Result<> add(const Entry& entry) {
    const BlockStatus& status = entry.status;
    print(first_ ? "[" : ",\n");
    first_ = false;
    print(fmt::format(R"({{ "start": {}, "length": {}, "depth": {}, "present": {}, "zero": {}, "data": {})",
                      entry.start_bytes, status.length_bytes, status.depth, status.present, status.zero, status.data));
    if (!personality().plain_results) print(fmt::format(R"(, "compressed": {})", status.compressed));
    if (status.host_offset_bytes) print(fmt::format(R"(, "offset": {})", *status.host_offset_bytes));
    print("}");
    return {};
  }
  void finish() { print("]\n"); }

 private:
  bool first_ = true;
};

class TextPrinter {
 public:
  explicit TextPrinter(Disk& disk) : disk_(disk) {
    print(fmt::format("{:<16}{:<16}{:<16}{}\n", "Offset", "Length", "Mapped to", "File"));
  }
  Result<> add(const Entry& entry) {
    const BlockStatus& status = entry.status;
    if (!status.data || status.zero) return {};
    if (!status.host_offset_bytes) {
      return fail(ErrorCode::unsupported,
                  "the {} bytes at {} are compressed or encrypted and have no place to show; --output=json can tell",
                  status.length_bytes, entry.start_bytes);
    }
    print(fmt::format("{:<16}{:<16}{:<16}{}\n", hex(entry.start_bytes), hex(status.length_bytes),
                      hex(*status.host_offset_bytes), file_of(status.depth)));
    return {};
  }
  void finish() {}

 private:
  static std::string hex(std::uint64_t value) { return value == 0 ? "0" : fmt::format("{:#x}", value); }
  std::string file_of(unsigned depth) const {
    Disk* disk = &disk_;
    while (depth-- > 0 && disk->backing()) disk = disk->backing();
    return escape_untrusted(disk->storage().name(), 4096);
  }
  Disk& disk_;
};

template <class Printer>
Task<Result<void>> print_map(Disk& disk, std::uint64_t at, std::uint64_t end, Printer& printer) {
  Entry held{at, {}};
  while (at < end) {
    BYRE_CO_TRY(BlockStatus status, co_await disk.status(at, end - at));
    const Entry next{at, status};
    at += status.length_bytes;
    if (held.status.length_bytes > 0 && continues(held, next)) {
      held.status.length_bytes += status.length_bytes;
      continue;
    }
    if (held.status.length_bytes > 0) BYRE_CO_CHECK(printer.add(held));
    held = next;
  }
  // An empty range still gives one entry, of length 0.
  BYRE_CO_CHECK(printer.add(held));
  printer.finish();
  co_return Result<void>();
}

Task<Result<void>> draw_map(const MapArguments& arguments, Disk& disk) {
  if (arguments.start_bytes || arguments.max_length_bytes) {
    co_return fail(ErrorCode::invalid_argument, "--output=svg draws the whole image: -s and -l do not go with it");
  }
  BYRE_CO_TRY(const ImageLayout layout, co_await image_layout(disk, {}));
  print(draw_layout(layout, arguments.file));
  co_return Result<void>{};
}

Task<Result<void>> map_disk(const MapArguments& arguments, Disk& disk) {
  if (arguments.output == "svg") co_return co_await draw_map(arguments, disk);
  const std::uint64_t start = arguments.start_bytes.value_or(0);
  const std::uint64_t left = disk.size_bytes() - std::min(start, disk.size_bytes());
  const std::uint64_t end = start + std::min(left, arguments.max_length_bytes.value_or(left));
  if (arguments.output == "json") {
    JsonPrinter printer;
    co_return co_await print_map(disk, start, end, printer);
  }
  TextPrinter printer(disk);
  co_return co_await print_map(disk, start, end, printer);
}

Task<Result<int>> map_file(MapArguments arguments) {
  OpenOptions options = open_options(arguments.open);
  BYRE_CO_CHECK(choose_snapshot(arguments.snapshot, options));
  BYRE_CO_TRY(const std::unique_ptr<Disk> disk,
              co_await open_image(arguments.file, arguments.open, std::move(options)));
  const Result<> mapped = co_await map_disk(arguments, *disk);
  BYRE_CO_CHECK(co_await disk->close());
  BYRE_CO_CHECK(mapped);
  co_return exit_success;
}

int run_map(const MapArguments& arguments) {
  const Result<int> code = run_on_loop(map_file(arguments));
  return code ? *code : report(std::unexpected(code.error()));
}

}  // namespace

void register_map(Cli& cli) {
  auto [parser, arguments] = cli.add<MapArguments>({"map", "Show where the bytes of a disk are stored",
                                                    "  byre map disk.qcow2\n"
                                                    "  byre map --output=json -s 1G -l 512M overlay.qcow2\n"
                                                    "  byre map --snapshot before-upgrade disk.qcow2\n"
                                                    "  byre map --output=svg disk.qcow2 > disk.svg\n"},
                                                   run_map);
  parser.add_option("file", arguments.file, "the image").required();
  add_size(parser, "-s,--start-offset", arguments.start_bytes, "first byte of the range");
  add_size(parser, "-l,--max-length", arguments.max_length_bytes, "longest length of the range");
  add_snapshot(parser, arguments.snapshot, "--snapshot");
  const auto choose_output = [&arguments](const std::string& text) -> Result<> {
    arguments.output = text;
    if (text == "human" || text == "json" || text == "svg") return {};
    return fail(ErrorCode::invalid_argument, "--output must be human, json or svg, not '{}'", escape_untrusted(text));
  };
  parser.add_option("--output", choose_output, "human (default), json, or svg: a picture of the disk and its file")
      .type_name("FORMAT");
  add_open_flags(parser, arguments.open);
}

}  // namespace byre::cli
