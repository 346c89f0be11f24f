// Stream and rebase. Both copy into the top what its chain would lose, flush, and then switch the name in its header:
// until then the old chain is complete, and what was copied is what it reads as anyway.

#include "byre/ops/chain.h"
#include "data/qcow2_disk.h"
#include "ops/layer_copy.h"

namespace byre {
namespace {

using ops::LayerAction;
using ops::LayerRun;

class StreamRule final : public ops::LayerRule {
 public:
  StreamRule(Disk& top, const Disk* base) : top_(top), base_(base) {}

  Task<Result<LayerRun>> run_at(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) override {
    BYRE_CO_TRY(const BlockStatus own, co_await top_.layer_status(offset_bytes, max_length_bytes));
    if (own.present) co_return LayerRun{LayerAction::skip, own.length_bytes};
    auto run = co_await ops::run_of_layers(top_.backing(), base_, offset_bytes, own.length_bytes);
    // Without a backing file what is not there reads as zeros.
    if (run && run->action == LayerAction::zero && !base_) run->action = LayerAction::skip;
    co_return run;
  }

  Task<Result<void>> checkpoint(std::uint64_t) override { return top_.flush(); }

 private:
  Disk& top_;
  const Disk* base_;
};

class RebaseRule final : public ops::LayerRule {
 public:
  RebaseRule(Disk& top, Disk* backing) : top_(top), backing_(backing) {}

  Task<Result<LayerRun>> run_at(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) override {
    BYRE_CO_TRY(const BlockStatus own, co_await top_.layer_status(offset_bytes, max_length_bytes));
    if (own.present) co_return LayerRun{LayerAction::skip, own.length_bytes};
    BYRE_CO_TRY(const Side old, co_await look(top_.backing(), offset_bytes, own.length_bytes));
    BYRE_CO_TRY(const Side now, co_await look(backing_, offset_bytes, old.length_bytes));
    const std::uint64_t length = now.length_bytes;
    if ((old.zero && now.zero) || shared(old, now)) co_return LayerRun{LayerAction::skip, length};
    co_return LayerRun{old.zero ? LayerAction::zero : LayerAction::compare, length};
  }

  Task<Result<void>> checkpoint(std::uint64_t) override { return top_.flush(); }

 private:
  // What a chain says of a stretch, and which of its layers.
  struct Side {
    std::uint64_t length_bytes = 0;
    bool zero = true;
    Disk* layer = nullptr;
    std::optional<std::uint64_t> host_offset_bytes;
  };

  static Task<Result<Side>> look(Disk* chain, std::uint64_t offset_bytes, std::uint64_t max_length_bytes) {
    if (!chain || offset_bytes >= chain->size_bytes()) co_return Side{max_length_bytes, true, nullptr, std::nullopt};
    const std::uint64_t length = std::min(max_length_bytes, chain->size_bytes() - offset_bytes);
    BYRE_CO_TRY(const BlockStatus status, co_await chain->status(offset_bytes, length));
    Side side;
    side.length_bytes = status.length_bytes;
    side.zero = status.zero || !status.present;
    side.host_offset_bytes = status.host_offset_bytes;
    side.layer = chain;
    for (unsigned depth = 0; depth < status.depth && side.layer; ++depth) side.layer = side.layer->backing();
    co_return side;
  }

  // The same bytes of the same file. In another format they are another disk.
  static bool shared(const Side& one, const Side& other) {
    if (!one.layer || !other.layer || !one.host_offset_bytes) return false;
    return one.layer->format() == other.layer->format() && one.host_offset_bytes == other.host_offset_bytes &&
           one.layer->storage().identity() == other.layer->storage().identity();
  }

  Disk& top_;
  Disk* backing_;
};

ops::LayerCopy copy_into(Disk& top, ChainOptions options) {
  ops::LayerCopy copy;
  copy.source = &top;
  copy.target = &top;
  copy.size_bytes = top.size_bytes();
  copy.options = std::move(options);
  return copy;
}

}  // namespace

Task<Result<void>> stream_disk(Disk& top, Disk* base, std::string base_name, ChainOptions options) {
  StreamRule rule(top, base);
  ops::LayerCopy copy = copy_into(top, std::move(options));
  BYRE_CO_CHECK(co_await ops::copy_layers(std::move(copy), rule));
  std::optional<std::string> format;
  if (base) format = std::string(base->format());
  co_return co_await record_backing(top, std::move(base_name), std::move(format));
}

Task<Result<void>> rebase_disk(Disk& top, Disk* backing, std::string name, std::string format, ChainOptions options) {
  RebaseRule rule(top, backing);
  ops::LayerCopy copy = copy_into(top, std::move(options));
  copy.compared = backing;
  // Version 2 has no zero flag, and without a backing file its zeros are empty entries (docs/format.md section 27.2).
  const auto* image = dynamic_cast<const Qcow2Disk*>(&top);
  copy.stores_zeros = image && image->header().version < 3 && !top.backing();
  BYRE_CO_CHECK(co_await ops::copy_layers(std::move(copy), rule));
  co_return co_await record_backing(top, std::move(name), std::move(format));
}

}  // namespace byre
