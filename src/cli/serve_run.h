// What a server of images is started with, whatever the names of its options, and the server itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "byre/nbd/server.h"
#include "cli/flags.h"

namespace byre::cli {

struct ServeArguments {
  std::string default_address = "127.0.0.1";
  std::string file;
  std::vector<std::string> exports;  // NAME=IMAGE
  std::string name;
  std::string description;
  std::optional<std::string> socket;
  std::optional<std::string> address;
  std::optional<unsigned> port;
  std::optional<std::string> pid_file;
  std::optional<std::string> snapshot;
  std::optional<std::uint64_t> offset_bytes;
  std::optional<std::uint64_t> size_bytes;
  unsigned shared = 1;
  bool persistent = false;
  bool read_only = false;
  bool discard = true;  // what clients trim is given back
  IoMode mode = IoMode::automatic;
  DetectZeroes detect_zeroes = DetectZeroes::off;
  bool throw_away = false;  // what clients write is dropped at the end; the image is opened read-only
  bool fork = false;
  bool list = false;
  OutputFormat output = OutputFormat::human;
  bool quiet = false;
  bool verbose = false;
  std::optional<nbd::TlsMode> tls;
  nbd::TlsOptions tls_options;
  OpenFlags open;
};

// "0" to "65535". Errors: another word.
Result<> read_port(const std::string& word, std::optional<unsigned>& port);

// Serves, or lists, until it ends. Returns the exit code.
int run_serve(const ServeArguments& arguments);

}  // namespace byre::cli
