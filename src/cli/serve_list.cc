#include "cli/serve_list.h"

#include <fmt/core.h>

#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "cli/output.h"
#include "nbd/protocol.h"

namespace byre::cli {

namespace {

namespace bit = nbd::export_flag;

constexpr std::array<std::pair<std::uint16_t, std::string_view>, 9> flag_words{{{bit::read_only, "readonly"},
                                                                                {bit::flush, "flush"},
                                                                                {bit::fua, "fua"},
                                                                                {bit::trim, "trim"},
                                                                                {bit::write_zeroes, "zeroes"},
                                                                                {bit::do_not_fragment, "df"},
                                                                                {bit::multi_conn, "multi"},
                                                                                {bit::cache, "cache"},
                                                                                {bit::fast_zero, "fast-zero"}}};

std::vector<std::string> words_of(std::uint16_t flags) {
  std::vector<std::string> words;
  for (const auto& [bit, word] : flag_words) {
    if ((flags & bit) != 0) words.emplace_back(word);
  }
  return words;
}

// What a server says is not trusted: it is printed escaped.
void print_one(const nbd::OfferedExport& exported) {
  print(fmt::format(" export: '{}'\n", escape_untrusted(exported.name)));
  if (!exported.description.empty()) print(fmt::format("  description: {}\n", escape_untrusted(exported.description)));
  print(fmt::format("  size:  {}\n", exported.size_bytes));
  std::string words;
  for (const std::string& word : words_of(exported.flags)) words += word + " ";
  print(fmt::format("  flags: {:#x} ( {})\n", exported.flags, words));
  if (exported.largest_bytes != 0) {
    print(fmt::format("  min block: {}\n  opt block: {}\n  max block: {}\n", exported.smallest_bytes,
                      exported.preferred_bytes, exported.largest_bytes));
  }
  if (exported.contexts.empty()) return;
  print(fmt::format("  available meta contexts: {}\n", exported.contexts.size()));
  for (const std::string& context : exported.contexts) print(fmt::format("   {}\n", escape_untrusted(context)));
}

Json json_of(const nbd::OfferedExport& exported) {
  Json json = {{"name", exported.name}, {"size", exported.size_bytes}, {"flags", words_of(exported.flags)}};
  if (!exported.description.empty()) json["description"] = exported.description;
  if (exported.largest_bytes != 0) {
    json["min-block"] = exported.smallest_bytes;
    json["opt-block"] = exported.preferred_bytes;
    json["max-block"] = exported.largest_bytes;
  }
  json["contexts"] = exported.contexts;
  return json;
}

}  // namespace

void print_exports(const std::vector<nbd::OfferedExport>& exports, OutputFormat output) {
  if (output == OutputFormat::json) {
    Json list = Json::array();
    for (const nbd::OfferedExport& exported : exports) list.push_back(json_of(exported));
    print_json({{"exports", std::move(list)}});
    return;
  }
  print(fmt::format("exports available: {}\n", exports.size()));
  for (const nbd::OfferedExport& exported : exports) print_one(exported);
}

}  // namespace byre::cli
