// byre dd: copies a stretch of a disk (docs/format.md C-27). Operands are words like bs=1M, as they have been for ever.
#include "byre/ops/dd.h"

#include <unistd.h>

#include "base/math.h"
#include "byre/ops/create.h"
#include "byre/storage/pipe.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/loop.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "data/open.h"
#include "data/piped_disk.h"
#include "data/piped_image.h"

namespace byre::cli {

namespace {

constexpr std::uint64_t most_block_bytes = 0x7fff'ffff;
constexpr std::size_t stream_piece_bytes = 1 << 20;
constexpr std::uint64_t growth_bytes = 64 << 20;

struct DdArguments {
  std::vector<std::string> operands;
  std::optional<std::string> target_format;
  bool existing = false;
  bool progress = false;
  bool quiet = false;
  OpenFlags open;
};

struct Operands {
  std::string input, output;
  std::uint64_t block_bytes = 512;
  std::uint64_t skip_blocks = 0, seek_blocks = 0;
  std::optional<std::uint64_t> count_blocks;
};

Result<std::uint64_t> parse_amount(const std::string& name, const std::string& value) {
  if (const auto size = parse_size(value)) return *size;
  return fail(ErrorCode::invalid_argument, "{}={}: a number is expected, with k, M, G, T, P or E behind it perhaps",
              name, escape_untrusted(value));
}

Result<void> take(Operands& operands, const std::string& word) {
  const std::size_t equals = word.find('=');
  const std::string name = word.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
  if (equals == std::string::npos) {
    return fail(ErrorCode::invalid_argument,
                "unrecognized operand '{}': if=, of=, bs=, count=, skip= and seek= are known", escape_untrusted(word));
  }
  if (name == "if") {
    operands.input = value;
  } else if (name == "of") {
    operands.output = value;
  } else if (name == "count") {
    BYRE_TRY(operands.count_blocks, parse_amount(name, value));
  } else if (name == "bs" || name == "skip" || name == "seek") {
    BYRE_TRY(const std::uint64_t amount, parse_amount(name, value));
    (name == "bs" ? operands.block_bytes : name == "skip" ? operands.skip_blocks : operands.seek_blocks) = amount;
  } else {
    return fail(ErrorCode::invalid_argument,
                "unrecognized operand '{}': if=, of=, bs=, count=, skip= and seek= are known", escape_untrusted(word));
  }
  return {};
}

Result<Operands> parse(const std::vector<std::string>& words) {
  Operands operands;
  for (const std::string& word : words) BYRE_CHECK(take(operands, word));
  if (operands.input.empty() || operands.output.empty()) {
    return fail(ErrorCode::invalid_argument,
                "must specify both input and output files: if=FILE of=FILE, - for a stream");
  }
  if (operands.block_bytes == 0 || operands.block_bytes > most_block_bytes) {
    return fail(ErrorCode::invalid_argument, "bs={}: must be between 1 and {}", operands.block_bytes, most_block_bytes);
  }
  return operands;
}

// The target: made anew, or as it is with -n.
Task<Result<std::unique_ptr<Disk>>> open_target(const DdArguments& arguments, const Operands& operands,
                                                std::uint64_t size) {
  const std::string format = arguments.target_format.value_or("raw");
  OpenOptions options = open_options(arguments.open, arguments.quiet);
  options.format = format;
  options.writable = true;
  options.force_share = false;
  BYRE_CO_TRY(NodeDescription target, image_named(operands.output, false));
  if (arguments.existing) co_return co_await open_node(std::move(target), std::move(options));
  const std::string path = target.path().value_or(operands.output);
  CreateOptions create;
  create.format = format;
  create.size_bytes = size;
  BYRE_CO_TRY(CreateOptions ready, co_await prepare_create(path, std::move(create)));
  BYRE_CO_TRY(std::unique_ptr<Storage> made,
              co_await create_image(std::move(target), std::move(ready), CacheMode::writeback));
  co_return co_await open_disk(std::move(made), std::move(options));
}

Result<std::uint64_t> target_offset(const Operands& operands, std::uint64_t length) {
  const auto offset = checked_multiply(operands.seek_blocks, operands.block_bytes);
  if (offset && checked_add(*offset, length)) return *offset;
  return fail(ErrorCode::invalid_argument, "seek={} blocks of {} bytes: too far", operands.seek_blocks,
              operands.block_bytes);
}

// Writes what comes to the end of the stream, of which `skip` bytes are dropped. Returns where the last byte is behind.
Task<Result<std::uint64_t>> write_what_comes(PipeReader& input, DdRange range, Disk& target, std::uint64_t at) {
  std::vector<std::byte> buffer(stream_piece_bytes);
  std::uint64_t from = 0;
  const std::uint64_t end = checked_add(range.offset_bytes, range.length_bytes).value_or(~std::uint64_t{0});
  while (from < end) {
    const Bytes room = Bytes(buffer).first(std::min<std::uint64_t>(buffer.size(), end - from));
    const auto got = co_await input.read_some(from, room);
    if (!got && got.error().code() != ErrorCode::cancelled) co_return std::unexpected(got.error());
    if (!got || *got == 0) break;
    const std::uint64_t dropped =
        std::min<std::uint64_t>(range.offset_bytes - std::min(range.offset_bytes, from), *got);
    from += *got;
    const ConstBytes bytes = ConstBytes(buffer).subspan(dropped, *got - dropped);
    if (at + bytes.size() > target.size_bytes()) {
      BYRE_CO_CHECK(co_await target.resize(round_up(at + bytes.size(), 512) + growth_bytes, Preallocation::off));
    }
    BYRE_CO_CHECK(co_await target.write(at, bytes));
    at += bytes.size();
  }
  co_return at;
}

// From a stream whose end is not known: the target grows with it. What was written stays if a signal comes.
Task<Result<void>> copy_from_stream(PipeReader& input, const DdArguments& arguments, const Operands& operands) {
  BYRE_CO_TRY(const std::uint64_t start, target_offset(operands, 0));
  const DdRange range = dd_range(~std::uint64_t{0}, operands.block_bytes, operands.skip_blocks, operands.count_blocks);
  BYRE_CO_TRY(const std::unique_ptr<Disk> target, co_await open_target(arguments, operands, start));
  BYRE_CO_TRY(const std::uint64_t at, co_await write_what_comes(input, range, *target, start));
  const bool shorter = !arguments.existing && round_up(at, 512) < target->size_bytes();
  if (shorter) BYRE_CO_CHECK(co_await target->resize(round_up(at, 512), Preallocation::off));
  BYRE_CO_CHECK(co_await target->close());
  if (interrupted().load()) co_return fail(ErrorCode::cancelled, "interrupted");
  co_return Result<void>{};
}

Task<Result<void>> copy_stream_to_stream(PipeReader& input, const DdArguments& arguments, const Operands& operands) {
  if (arguments.target_format == "qcow2") {
    co_return fail(ErrorCode::unsupported,
                   "a qcow2 stream begins with tables for all of the source, which a raw stream as the source does not "
                   "tell: save it in a file first");
  }
  const DdRange range = dd_range(~std::uint64_t{0}, operands.block_bytes, operands.skip_blocks, operands.count_blocks);
  PipeWriter output(STDOUT_FILENO, "standard output", &interrupted());
  PipedRawDisk target(output, 0);
  BYRE_CO_CHECK(co_await write_what_comes(input, range, target, 0));
  BYRE_CO_CHECK(co_await output.flush());
  if (interrupted().load()) co_return fail(ErrorCode::cancelled, "interrupted");
  co_return Result<void>{};
}

Task<Result<void>> copy_to_stream(Disk& source, DdRange range, const DdArguments& arguments, Progress& progress) {
  PipeWriter output(STDOUT_FILENO, "standard output", &interrupted());
  if (arguments.target_format == "qcow2") {
    StretchCopy copy;
    copy.source_offset_bytes = range.offset_bytes;
    copy.length_bytes = range.length_bytes;
    copy.progress = [&progress](std::uint64_t done, std::uint64_t total) { progress.update(done, total); };
    copy.cancel = &interrupted();
    CreateOptions create;
    co_return co_await stretch_to_pipe(source, output, std::move(create), std::move(copy));
  }
  std::vector<std::byte> buffer(stream_piece_bytes);
  for (std::uint64_t done = 0; done < range.length_bytes;) {
    if (interrupted().load()) co_return fail(ErrorCode::cancelled, "interrupted");
    const Bytes piece = Bytes(buffer).first(std::min<std::uint64_t>(buffer.size(), range.length_bytes - done));
    BYRE_CO_CHECK(co_await source.read(range.offset_bytes + done, piece));
    const ConstBytes bytes = piece;
    BYRE_CO_CHECK(co_await write_bytes(output, done, bytes));
    done += piece.size();
    progress.update(done, range.length_bytes);
  }
  co_return co_await output.flush();
}

Task<Result<void>> copy_to_file(Disk& source, DdRange range, const DdArguments& arguments, const Operands& operands,
                                Progress& progress) {
  StretchCopy copy;
  copy.source_offset_bytes = range.offset_bytes;
  copy.length_bytes = range.length_bytes;
  BYRE_CO_TRY(copy.target_offset_bytes, target_offset(operands, range.length_bytes));
  copy.target_is_zero = !arguments.existing;
  copy.progress = [&progress](std::uint64_t done, std::uint64_t total) { progress.update(done, total); };
  copy.cancel = &interrupted();
  const std::uint64_t size = copy.target_offset_bytes + range.length_bytes;
  BYRE_CO_TRY(const std::unique_ptr<Disk> target, co_await open_target(arguments, operands, size));
  auto done = co_await copy_stretch(source, *target, std::move(copy));
  auto closed = co_await target->close();
  co_return done ? closed : done;
}

Task<Result<void>> copy_from_disk(Disk& source, const DdArguments& arguments, const Operands& operands,
                                  Progress& progress) {
  const DdRange range =
      dd_range(source.size_bytes(), operands.block_bytes, operands.skip_blocks, operands.count_blocks);
  const auto skipped = checked_multiply(operands.skip_blocks, operands.block_bytes);
  const bool behind_count = range.length_bytes == 0 && operands.skip_blocks > operands.count_blocks.value_or(~0ULL);
  if (!skipped || *skipped > source.size_bytes() || behind_count) {
    print_warning(escape_untrusted(operands.input) + ": cannot skip to specified offset");
  }
  if (operands.output == "-") co_return co_await copy_to_stream(source, range, arguments, progress);
  co_return co_await copy_to_file(source, range, arguments, operands, progress);
}

// Null: a raw stream, whose size shows at its end.
Task<Result<std::unique_ptr<Disk>>> open_source(const std::shared_ptr<PipeReader>& input, const DdArguments& arguments,
                                                const Operands& operands) {
  OpenOptions options = open_options(arguments.open, arguments.quiet);
  if (!input) co_return co_await open_image(operands.input, arguments.open, std::move(options));
  BYRE_CO_TRY(const std::string format, co_await decide_format(*input, options));
  if (format == "raw") co_return nullptr;
  co_return co_await open_piped_image(input, std::move(options));
}

Task<Result<void>> dd(const DdArguments& arguments, const Operands& operands, Progress& progress) {
  std::shared_ptr<PipeReader> input;
  if (operands.input == "-") input = std::make_shared<PipeReader>(STDIN_FILENO, "standard input", &interrupted());
  BYRE_CO_TRY(const std::unique_ptr<Disk> source, co_await open_source(input, arguments, operands));
  if (!source && operands.output == "-") co_return co_await copy_stream_to_stream(*input, arguments, operands);
  if (!source) co_return co_await copy_from_stream(*input, arguments, operands);
  auto done = co_await copy_from_disk(*source, arguments, operands, progress);
  if (done && input) done = co_await input->drain();
  auto closed = co_await source->close();
  co_return done ? closed : done;
}

int run_dd(const DdArguments& arguments) {
  const auto operands = parse(arguments.operands);
  if (!operands) return report(std::unexpected(operands.error()));
  if (arguments.existing && operands->output == "-") {
    print_error("-n is for a file: of=- is a stream");
    return exit_failure;
  }
  if (operands->output == "-") {
    if (operands->seek_blocks != 0) {
      print_error("seek= is for a file: of=- is a stream");
      return exit_failure;
    }
    if (const auto suits = check_standard_output_takes_data(arguments.progress); !suits) return report(suits);
  }
  catch_interrupts();
  Progress progress(arguments.progress, arguments.quiet, "copying");
  const auto done = run_on_loop(dd(arguments, *operands, progress));
  if (!done) return report(done);
  progress.finish();
  return exit_success;
}

}  // namespace

void register_dd(Cli& cli) {
  auto [parser, arguments] = cli.add<DdArguments>(
      {"dd", "Copy a stretch of a disk",
       "  byre dd -f qcow2 -O raw bs=1M count=100 if=disk.qcow2 of=start.raw\n"
       "  byre dd -f qcow2 bs=1M skip=5 if=disk.qcow2 of=- | sha256sum\n"
       "  byre dd -O qcow2 if=- of=disk.qcow2 < disk.raw\n"
       "  byre dd -n -O qcow2 bs=1M seek=7 if=part.raw of=disk.qcow2\n"
       "  byre dd -f qcow2 -O qcow2 if=disk.qcow2 of=- | ssh host byre dd -O qcow2 if=- of=disk.qcow2\n\n"
       "count= bounds the end of the input, from its start, before skip= is applied. Streams:\n"
       "see 'byre help convert'.\n"},
      run_dd);
  parser.add_option("operand", arguments.operands, "if=FILE of=FILE bs=BYTES count=N skip=N seek=N; - is a stream");
  add_format(parser, arguments.target_format, "-O,--target-format", "format of the target: raw (default) or qcow2");
  parser.add_flag("-n,--existing", arguments.existing, "write into a target that is there, and keep the rest of it");
  add_quiet(parser, arguments.quiet);
  add_progress(parser, arguments.progress);
  add_open_flags(parser, arguments.open);
}

}  // namespace byre::cli
