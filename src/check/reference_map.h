// How often each host cluster is referred to, and what the active tables claim about it with their COPIED flags. Two
// bits for a cluster as long as its neighbourhood has no count above 1, a byte otherwise; what a byte cannot say is in
// a side table. Nothing is kept for neighbourhoods without references, so memory follows what is used, not how long the
// file is (docs/format.md H-60).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>

namespace byre::check {

// What the reference says about the count.
enum class Claim : std::uint8_t {
  none,    // nothing: metadata, snapshots
  copied,  // an active entry with COPIED: it is 1
  shared,  // an active entry without COPIED: it is not 1
};

class ReferenceMap {
 public:
  static constexpr std::uint64_t clusters_per_page = 4096;

  void add(std::uint64_t cluster, std::uint64_t count, Claim claim);
  void add_run(std::uint64_t first, std::uint64_t clusters, std::uint64_t count, Claim claim);
  // Takes one reference away that was added without a claim.
  void remove(std::uint64_t cluster);

  std::uint64_t count(std::uint64_t cluster) const;
  bool any(std::uint64_t first, std::uint64_t clusters) const;

  // Whether a stored count may contradict a claim. May be wrong in saying so where counts are wrong as well.
  bool contradicts(std::uint64_t cluster, std::uint64_t stored) const;

  // The first cluster from `from` on that is referred to.
  std::optional<std::uint64_t> next_referenced(std::uint64_t from) const;
  std::uint64_t next_unreferenced(std::uint64_t from) const;
  // Behind the last one; 0 if there is none.
  std::uint64_t end() const;

  // For comparisons of many at once: how often each of 32 clusters from `first` (a multiple of 32) on is referred to,
  // if that is the same and, stored as their counts, contradicts no claim. At most most_uniform.
  static constexpr std::uint64_t most_uniform = 251;
  std::optional<std::uint64_t> uniform_32(std::uint64_t first) const;

 private:
  struct Page {
    std::unique_ptr<std::uint8_t[]> codes;
    bool wide = false;
    std::uint64_t per_word() const { return wide ? 8 : 32; }  // clusters in 8 bytes of `codes`
    unsigned get(std::uint64_t index) const;
    void set(std::uint64_t index, unsigned code);
    void widen();
  };
  struct Side {
    std::uint64_t count;
    bool copied;
  };
  Page& page_for(std::uint64_t cluster);
  const Page* find(std::uint64_t cluster) const;
  void add_slowly(Page& page, std::uint64_t cluster, std::uint64_t count, Claim claim);
  void store(Page& page, std::uint64_t cluster, std::uint64_t count, bool copied);
  std::uint64_t decode(std::uint64_t cluster, unsigned code) const;

  std::map<std::uint64_t, Page> pages_;
  std::unordered_map<std::uint64_t, Side> side_;
  mutable std::uint64_t last_index_ = ~std::uint64_t{0};
  mutable const Page* last_ = nullptr;
};

}  // namespace byre::check
