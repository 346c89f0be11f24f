#include "ops/image_states.h"

#include "base/text.h"

namespace byre::ops {

Task<Result<ImageStates>> open_states(Qcow2Disk& image) {
  ImageStates states;
  BYRE_CO_TRY(states.snapshots, co_await image.snapshots());
  for (const format::Snapshot& snapshot : states.snapshots) {
    auto state = co_await image.open_state(snapshot);
    if (!state) {
      Error error = std::move(state).error().with_context(fmt::format("snapshot '{}'", escape_untrusted(snapshot.id)));
      co_return std::unexpected(std::move(error).in_file(image.storage().name()));
    }
    states.opened.push_back(std::move(*state));
    states.disks.push_back(states.opened.back().get());
  }
  states.disks.push_back(&image);
  co_return states;
}

}  // namespace byre::ops
