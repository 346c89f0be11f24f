// At the start of a stream, ISA-L 2.30 puts an entry into its hash table that depends on where its state lies in
// memory: one of some thousand clusters then comes out with other bytes in another thread. Behind a dictionary it does
// not. Ours is a single byte, chosen so that no match can begin there.

#include "format/isal_deflate.h"

#ifdef BYRE_HAVE_ISAL
#include <isa-l/igzip_lib.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>

#include "byre/base/assert.h"
#include "format/deflate_symbols.h"

namespace byre::format {
namespace {

constexpr int window_bits = 12;

struct Context {
  isal_zstream stream;
  std::array<std::uint8_t, ISAL_DEF_LVL2_DEFAULT> work;
};

// One that the first two bytes of the cluster do not follow anywhere else, as far as the dictionary can be reached:
// then nothing matches there, since a match has at least three bytes. None if all bytes are followed by them.
std::optional<std::uint8_t> unmatched_byte(ConstBytes cluster) {
  const ConstBytes reach = cluster.first(std::min<std::size_t>(cluster.size(), deflate_window_bytes + 2));
  std::array<bool, 256> taken{};
  for (std::size_t i = 1; i + 1 < reach.size(); ++i) {
    if (reach[i] == reach[0] && reach[i + 1] == reach[1]) taken[std::to_integer<std::size_t>(reach[i - 1])] = true;
  }
  const auto found = std::ranges::find(taken, false);
  if (found == taken.end()) return std::nullopt;
  return static_cast<std::uint8_t>(found - taken.begin());
}

void begin(Context& context, int level) {
  isal_zstream& stream = context.stream;
  isal_deflate_init(&stream);
  stream.level = static_cast<std::uint32_t>(level);
  stream.level_buf = context.work.data();
  stream.level_buf_size = level == 1 ? ISAL_DEF_LVL1_DEFAULT : ISAL_DEF_LVL2_DEFAULT;
  stream.hist_bits = window_bits;
  stream.end_of_stream = 1;
  stream.flush = NO_FLUSH;
}

}  // namespace

std::size_t deflate_with_isal(int level, ConstBytes cluster, Bytes target) {
  BYRE_ASSERT(level >= 1 && level <= most_isal_level && cluster.size() >= 2);
  thread_local const auto context = std::make_unique<Context>();
  begin(*context, level);
  isal_zstream& stream = context->stream;
  std::optional<std::uint8_t> dictionary = unmatched_byte(cluster);
  if (!dictionary || isal_deflate_set_dict(&stream, &*dictionary, 1) != COMP_OK) return 0;
  // ISA-L takes a pointer to mutable bytes but does not change them.
  stream.next_in = reinterpret_cast<std::uint8_t*>(const_cast<std::byte*>(cluster.data()));
  stream.avail_in = static_cast<std::uint32_t>(cluster.size());
  stream.next_out = reinterpret_cast<std::uint8_t*>(target.data());
  stream.avail_out = static_cast<std::uint32_t>(target.size());
  const bool done = isal_deflate(&stream) == COMP_OK && stream.internal_state.state == ZSTATE_END;
  return done ? stream.total_out : 0;
}

}  // namespace byre::format
#endif
