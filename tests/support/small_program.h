// Small programs, every one of them: up to three requests, one after the other, on a disk of three 512-byte clusters,
// and the crash states of each moment, all of them where they are not too many.
//
// Crash states of the last request and of the close are examined; those of the requests before it belong to the
// shorter program. An image that was found good is not examined again until a flush has ruled out values.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace byre::test {

struct SmallVariant {
  unsigned version = 3;
  bool backing = false;
  bool used = false;      // one cluster is stored, one compressed, one zero
  bool snapshot = false;  // of the used image
  bool lazy = false;      // lazy refcounts
  bool kept = false;      // of the used image: the stored cluster reads as zeros and keeps its host cluster
  // How its disk behaves.
  bool newest_first = false;  // I/O completes in the order of its submission, or the newest first
  std::uint32_t sector_bytes = 512;
  std::string text() const;
  bool same_image(const SmallVariant& other) const;
};

// The images; each on a disk with 512-byte sectors on which what was submitted first completes first.
std::vector<SmallVariant> small_variants();

// How many different requests there are; programs are lists of their numbers. One more reads everything.
std::uint64_t small_request_count();
inline constexpr unsigned small_read = 17;
// Numbers of requests that touch one another, one of each kind, the one that reads included.
std::vector<unsigned> small_requests_by_kind();
// Requests to parts of the first cluster, written, zeroed keeping it and giving it up; and giving it up whole.
std::vector<unsigned> small_requests_in_one_cluster();
std::string small_program_text(const std::vector<unsigned>& program);

struct SmallOptions {
  std::uint64_t states_of_a_moment = 4096;  // where a crash may leave more images, `samples` of them are drawn
  unsigned samples = 256;
  // Set: all requests begin at once, and it picks the I/O that completes next. Of one moment in 32 one crash image is
  // drawn.
  std::function<std::size_t(std::size_t count)> choose;
};

struct SmallResult {
  std::uint64_t moments = 0;          // before a completion
  std::uint64_t sampled_moments = 0;  // with more states than are enumerated
  std::uint64_t states = 0;           // images that a crash may leave
  std::uint64_t examined = 0;         // of them looked at: those that are not known to be good
  std::string failure;

  void add(const SmallResult& other);
};

SmallResult run_small_program(const SmallVariant& variant, const std::vector<unsigned>& program,
                              const SmallOptions& options);

}  // namespace byre::test
