// The state that the commands of `byre io` work on: the open disk, how it was opened, and requests in flight.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "byre/data/disk.h"
#include "byre/task/sync.h"
#include "cli/flags.h"

namespace byre::cli {

struct IoOpenSettings {
  OpenFlags flags;
  std::optional<std::string> options;  // -o: a list that goes before what the name says
  bool read_only = false;
  bool discard = true;
  std::optional<std::string> snapshot;  // read this one; nothing is written then
  bool copy_on_read = false;            // -C
  bool throw_away = false;              // -s: changes go to memory and are lost at the end
};

class IoSession {
 public:
  Disk* disk() { return disk_.get(); }
  const IoOpenSettings& settings() const { return settings_; }
  const std::string& path() const { return path_; }

  // Nothing may be open. An empty path: the options say all.
  Task<Result<void>> open(std::string path, IoOpenSettings settings);
  // Waits for the requests in flight first. Nothing is open afterwards, whatever the result.
  Task<Result<void>> close();
  // Opens the same file with other settings.
  Task<Result<void>> reopen(IoOpenSettings settings);

  TaskGroup& in_flight() { return in_flight_; }

  bool quit = false;

 private:
  std::unique_ptr<Disk> disk_;
  std::string path_;
  IoOpenSettings settings_;
  TaskGroup in_flight_;
};

}  // namespace byre::cli
