// Commit. The base gets what the layers above it hold; only when that is durable does the top give it up, one L1 entry
// after the other, so that a commit that was interrupted finds what is left by looking at the top's tables.

#include <filesystem>

#include "base/text.h"
#include "byre/ops/chain.h"
#include "data/qcow2_disk.h"
#include "ops/layer_copy.h"

namespace byre {
namespace {

struct LayerPath {
  std::string path;
  std::string format;
};

// From the top to the base.
Task<Result<std::vector<LayerPath>>> layers_down_to(const NodeDescription& node, OpenOptions options,
                                                    const std::optional<std::string>& base) {
  options.writable = false;
  BYRE_CO_TRY(const std::unique_ptr<Disk> top, co_await open_node(node, std::move(options)));
  std::vector<LayerPath> layers;
  Disk* const end = base ? find_layer(*top, *base) : top->backing();
  for (Disk* layer = top.get(); layer && end; layer = layer->backing()) {
    layers.push_back({layer->storage().name(), std::string(layer->format())});
    if (layer == end) break;
  }
  BYRE_CO_CHECK(co_await top->close());
  if (end) co_return layers;
  if (base) {
    co_return fail(ErrorCode::not_found, "did not find '{}' in the backing chain of '{}'", escape_untrusted(*base),
                   escape_untrusted(node.text(), 4096));
  }
  co_return fail(ErrorCode::not_found, "{}: image does not have a backing file", escape_untrusted(node.text(), 4096));
}

class CommitRule final : public ops::LayerRule {
 public:
  explicit CommitRule(CommitChain& chain) : chain_(chain) {}

  Task<Result<ops::LayerRun>> run_at(std::uint64_t offset_bytes, std::uint64_t max_length_bytes) override {
    return ops::run_of_layers(chain_.top.get(), chain_.base, offset_bytes, max_length_bytes);
  }

  Task<Result<void>> checkpoint(std::uint64_t done_bytes) override {
    BYRE_CO_CHECK(co_await chain_.base->flush());
    if (!chain_.empties) co_return Result<void>{};
    auto* top = dynamic_cast<Qcow2Disk*>(chain_.top.get());
    const std::uint64_t cluster_size = top->cluster_size_bytes();
    const std::uint64_t end = done_bytes == top->size_bytes() ? done_bytes : done_bytes / cluster_size * cluster_size;
    const std::uint64_t begin = std::exchange(forgotten_bytes_, end);
    if (begin < end) BYRE_CO_CHECK(co_await top->forget(begin, end));
    co_return co_await top->flush();  // so that a run that is killed leaves in the tables what is left to do
  }

 private:
  std::uint64_t forgotten_bytes_ = 0;
  CommitChain& chain_;
};

}  // namespace

Task<Result<CommitChain>> open_commit_chain(NodeDescription top, OpenOptions options, std::optional<std::string> base,
                                            bool keep) {
  if (top.has_below("backing")) {
    co_return fail(ErrorCode::unsupported, "{}: committing follows the backing file that the image names: no backing.*",
                   escape_untrusted(top.text(), 4096));
  }
  BYRE_CO_TRY(const std::vector<LayerPath> layers, co_await layers_down_to(top, options, base));
  CommitChain chain;
  chain.empties = !keep && layers.size() == 2;
  OpenOptions below = options;
  below.writable = true;
  below.format = layers.back().format;
  below.backing.format.reset();
  below.snapshot.reset();
  std::unique_ptr<Disk> disk;
  BYRE_CO_TRY(disk, co_await open_disk(layers.back().path, below));
  chain.base = disk.get();
  for (std::size_t i = layers.size() - 1; i-- > 0;) {
    OpenOptions above = options;
    above.writable = i == 0 && chain.empties;
    above.format = layers[i].format;
    const NodeDescription node = i == 0 ? top : NodeDescription(layers[i].path);
    BYRE_CO_TRY(NodeStorage opened, co_await open_node_storage(node, std::move(above)));
    BYRE_CO_TRY(disk, co_await open_disk(std::move(opened.storage), std::move(opened.options), std::move(disk)));
  }
  chain.top = std::move(disk);
  co_return chain;
}

Task<Result<void>> commit_disk(CommitChain& chain, ChainOptions options) {
  const std::uint64_t size = chain.top->size_bytes();
  if (size > chain.base->size_bytes()) BYRE_CO_CHECK(co_await chain.base->resize(size, Preallocation::off));
  ops::LayerCopy copy;
  copy.source = chain.top.get();
  copy.target = chain.base;
  copy.size_bytes = size;
  copy.options = std::move(options);
  CommitRule rule(chain);
  co_return co_await ops::copy_layers(std::move(copy), rule);
}

}  // namespace byre
