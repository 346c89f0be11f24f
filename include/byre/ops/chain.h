// Changing a backing chain (docs/format.md section 12): commit, stream and rebase. Each can be interrupted at any
// moment, by its caller, a signal or a loss of power, and run again: the disk reads the same before, during and after,
// and what has been copied is not copied again, but for about the last 64 MiB or two seconds (commit: unless the
// overlay is kept).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "byre/data/disk.h"
#include "byre/ops/node.h"

namespace byre {

struct ChainOptions {
  std::uint64_t bytes_per_second = 0;                                                 // 0: as fast as it goes
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress;  // may be empty
  const std::atomic<bool>* cancel = nullptr;  // ends the operation (cancelled) when it becomes true
  // What has been copied is made durable when so much was and so long has passed: everything waits for it.
  std::uint64_t checkpoint_bytes = 64 << 20;
  std::chrono::milliseconds checkpoint_time{2000};
};

// A chain opened for commit: `base`, a layer below `top`, is writable, and so is `top` if it is to be emptied.
struct CommitChain {
  std::unique_ptr<Disk> top;
  Disk* base = nullptr;  // owned by the chain
  bool empties = false;  // commit_disk() gives up what the top holds: its backing file is the base
};

// `options` are those for the top, with the policy for what it names. No `base`: the top's backing file. `keep` leaves
// the top as it is, as does a base further down. Errors: not_found (no such layer, or no backing file), those of
// opening; unsupported (the description says what the backing file is: it is opened for writing by the name that the
// image has for it).
Task<Result<CommitChain>> open_commit_chain(NodeDescription top, OpenOptions options, std::optional<std::string> base,
                                            bool keep);

// Copies into the base what the layers above it hold, zeros included, so that it reads as the top does; it is grown if
// the top is longer, never cut. Layers between the two do not read as before afterwards. Flushes the base before the
// top gives anything up. Close the top afterwards.
Task<Result<void>> commit_disk(CommitChain& chain, ChainOptions options);

// Copies into the writable `top` what the layers between it and `base` hold and nothing else, then makes `base` its
// backing file, recorded under `base_name`, or none (null: everything is copied). `base` is a layer of its chain.
Task<Result<void>> stream_disk(Disk& top, Disk* base, std::string base_name, ChainOptions options);

// Makes `backing` (null: none) the backing file of the writable `top`, recorded as `name` and `format`: what reads
// otherwise there is copied first. `top` is opened with its old backing chain.
Task<Result<void>> rebase_disk(Disk& top, Disk* backing, std::string name, std::string format, ChainOptions options);

// Records another backing file (empty: none) without looking at any: for one that was renamed. No other request may be
// under way. Errors: unsupported (raw), no_space (the name does not fit), invalid_argument.
Task<Result<void>> record_backing(Disk& top, std::string name, std::optional<std::string> format);

// The layer of the chain of `top`, below it, that lies at `path` as the caller or the image would name it; null: none.
Disk* find_layer(Disk& top, const std::string& path);

// How the image should name that layer as its backing file: `given`, if that leads there from the directory of the top,
// else its absolute path.
std::string name_for(Disk& top, Disk& layer, const std::string& given);

}  // namespace byre
