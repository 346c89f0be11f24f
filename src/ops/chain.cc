// Finding a layer, and recording one.

#include "byre/ops/chain.h"

#include <filesystem>

#include "base/text.h"
#include "data/qcow2_disk.h"
#include "data/reference.h"

namespace byre {
namespace {

bool same_file(const std::string& one, const std::string& other) {
  std::error_code error;
  return one == other || std::filesystem::equivalent(one, other, error);
}

}  // namespace

Disk* find_layer(Disk& top, const std::string& path) {
  const auto beside = resolve_reference(top.storage().name(), path);
  for (Disk* layer = top.backing(); layer; layer = layer->backing()) {
    const std::string& name = layer->storage().name();
    if (same_file(path, name) || (beside && same_file(*beside, name))) return layer;
  }
  return nullptr;
}

std::string name_for(Disk& top, Disk& layer, const std::string& given) {
  const auto beside = resolve_reference(top.storage().name(), given);
  if (beside && same_file(*beside, layer.storage().name())) return given;
  std::error_code error;
  const auto absolute = std::filesystem::absolute(layer.storage().name(), error);
  return error ? given : absolute.lexically_normal().string();
}

Task<Result<void>> record_backing(Disk& top, std::string name, std::optional<std::string> format) {
  auto* image = dynamic_cast<Qcow2Disk*>(&top);
  const std::string& file = top.storage().name();
  if (!image) co_return fail_in(file, ErrorCode::unsupported, "a {} disk has no backing file", top.format());
  if (!name.empty() && format && *format != "raw" && *format != "qcow2") {
    co_return fail_in(file, ErrorCode::invalid_argument,
                      "unknown format '{}' of a backing file: qcow2 and raw are known", escape_untrusted(*format));
  }
  auto done = co_await image->change_header([&name, &format](format::Header& header) {
    header.backing_name = name;
    header.backing_format = name.empty() ? std::nullopt : format;
  });
  if (!done) co_return std::unexpected(std::move(done).error().in_file(file));
  co_return done;
}

}  // namespace byre
