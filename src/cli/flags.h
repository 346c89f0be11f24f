// Options that several subcommands share, declared in one place so that they read and mean the same everywhere.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "byre/base/result.h"
#include "byre/data/disk.h"
#include "byre/ops/convert.h"
#include "byre/ops/node.h"
#include "byre/storage/file.h"
#include "byre/task/pollers.h"
#include "cli/parser.h"
#include "ops/option_list.h"

namespace byre::cli {

enum class OutputFormat { human, json };

// Each adds one option. Values that do not parse are usage errors.
Option add_format(Parser& parser, std::optional<std::string>& format, const std::string& names = "-f,--format",
                  const std::string& description = "format of the image: qcow2 or raw (default: probed)");
Option add_size(Parser& parser, const std::string& names, std::optional<std::uint64_t>& size_bytes,
                const std::string& description);  // C-3
Option add_size(Parser& parser, const std::string& names, std::uint64_t& size_bytes,
                const std::string& description);  // keeps its value unless it is given
Option add_cache_mode(Parser& parser, const std::string& names, CacheMode& mode, const std::string& description);
// --aio MODE: by threads, or by the kernel's own way, for which "native" and "io_uring" both stand.
Option add_aio(Parser& parser, IoMode& mode, const std::string& names = "-i,--aio");
// -T,--trace: there are no trace events; patterns of other tools' are warned of.
Option add_trace(Parser& parser);
Result<> take_trace(const std::string& list);
Option add_force_share(Parser& parser, bool& force_share);  // -U
Option add_quiet(Parser& parser, bool& quiet);              // -q
Option add_progress(Parser& parser, bool& progress);        // -p, also as --progress; and --progress json:FD
Option add_events(Parser& parser);                          // --progress json:FD alone, where -p has no meaning
Option add_output(Parser& parser, OutputFormat& output);    // --output=human|json

Option add_reflink(Parser& parser, Reflink& reflink, const std::string& description);  // --reflink=auto|always|never
Option add_placement(Parser& parser, Placement& placement, const std::string& description);  // --layout=compact|stable

// An internal snapshot, as "ID_OR_NAME", "snapshot.id=ID" or "snapshot.name=NAME". "-l" means something else in map.
Option add_snapshot(Parser& parser, std::optional<std::string>& snapshot, const std::string& names = "-l,--snapshot",
                    const std::string& of = "");
// Enters what the option gave, if it did. Errors: another key behind "snapshot.".
Result<> choose_snapshot(const std::optional<std::string>& text, OpenOptions& options);

// -o key=value,...; repeated ones add up. Texts are kept as given: read_option_lists() parses them.
Option add_option_lists(Parser& parser, std::vector<std::string>& texts);

// How far the names inside an image may be followed.
struct BackingFlags {
  bool no_backing = false;
  std::optional<std::string> directory;
  std::optional<std::string> format;
};
// --no-backing, --backing-dir DIR, --backing-format FMT
void add_backing(Parser& parser, BackingFlags& flags);

// Everything that open_disk() takes from the command line.
struct OpenFlags {
  std::optional<std::string> format;
  bool image_opts = false;
  bool force_share = false;
  CacheMode cache = CacheMode::writeback;
  std::optional<std::uint64_t> cache_size_bytes;
  BackingFlags backing;
};
// -f, --image-opts, -U, --cache-size and the backing flags; the cache mode's letter differs from command to command,
// see add_cache_mode().
void add_open_flags(Parser& parser, OpenFlags& flags);

// --image-opts; not together with the option for the format.
void add_image_opts(Parser& parser, bool& image_opts, const Option& format, const std::string& names = "--image-opts",
                    const std::string& what = "the image is");
// What the word of a command line means: a name as NodeDescription::from_name() has it, or with --image-opts a list of
// options. Never for names inside images.
Result<NodeDescription> image_named(const std::string& word, bool image_opts);
Result<std::vector<NodeDescription>> images_named(const std::vector<std::string>& words, bool image_opts);
// Opens what the word means.
Task<Result<std::unique_ptr<Disk>>> open_image(std::string word, const OpenFlags& flags, OpenOptions options);

BackingPolicy backing_policy(const BackingFlags& flags);
// Options for reading; a command that writes sets `writable`. Remarks go to standard error.
OpenOptions open_options(const OpenFlags& flags, bool quiet = false);

// Merges the texts of -o in their order. Errors: malformed.
Result<ops::OptionList> read_option_lists(const std::vector<std::string>& texts);

}  // namespace byre::cli
