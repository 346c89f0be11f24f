// A deflate encoder for compressed clusters: distances stay within 4 KiB, and equal input makes equal output on every
// machine.
#pragma once

#include <vector>

#include "format/deflate_symbols.h"
#include "format/match_finder.h"

namespace byre::format {

// How long to look for matches.
struct DeflateEffort {
  unsigned chain;        // candidates at one position
  unsigned good_enough;  // a match of this length ends the search
  unsigned ahead;        // positions behind a match at which a better one may begin: 0 to 2
};

// Keeps its tables from cluster to cluster. One thread at a time.
class DeflateEncoder {
 public:
  // Compresses up to 2 MiB into one raw stream. Returns its length, or 0 if it does not fit into `target`.
  std::size_t encode(ConstBytes input, Bytes target, const DeflateEffort& effort);

 private:
  void parse(ConstBytes input, const DeflateEffort& effort);
  std::uint32_t settle(std::uint32_t at, Match& match, std::uint32_t& known_end, const DeflateEffort& effort);
  void put_bytes(ConstBytes bytes);

  MatchFinder finder_;
  std::vector<DeflateToken> tokens_;
};

}  // namespace byre::format
