// The text of `info`: first the lines that other tools print, in their words, then what they leave out.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "cli/info_text.h"
#include "cli/personality.h"

namespace byre::cli {

namespace {

constexpr std::size_t whole_name = 65535;  // longer than any name in an image

// Names stand at the end of their lines, unquoted: an apostrophe is as harmless there as any other letter.
std::string shown(std::string_view text) {
  std::string result;
  for (;;) {
    const std::size_t apostrophe = text.find('\'');
    result += escape_untrusted(text.substr(0, apostrophe), whole_name);
    if (apostrophe == std::string_view::npos) return result;
    result += '\'';
    text.remove_prefix(apostrophe + 1);
  }
}

std::string local_date(std::uint32_t seconds) {
  const std::time_t when = seconds;
  std::tm parts = {};
  localtime_r(&when, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts)};
}

std::string clock_text(std::uint64_t nanoseconds) {
  const std::uint64_t milliseconds = nanoseconds / 1'000'000;
  const std::uint64_t seconds = milliseconds / 1000;
  return fmt::format("{:02}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60, milliseconds % 1000);
}

std::string scalar_text(const Json& value) {
  return value.is_string() ? shown(value.get<std::string>()) : value.dump();
}

// Keys with spaces for dashes, one level of indentation per level of nesting.
void append_tree(const Json& value, int indent, std::string& text) {
  std::size_t index = 0;
  for (const auto& [key, member] : value.items()) {
    std::string name = value.is_array() ? fmt::format("[{}]", index++) : key;
    std::ranges::replace(name, '-', ' ');
    text += fmt::format("{:{}}{}:", "", indent, name);
    if (member.is_structured()) {
      text += '\n';
      append_tree(member, indent + 4, text);
    } else {
      text += ' ' + scalar_text(member) + '\n';
    }
  }
}

std::string backing_text(const ImageInfo& info) {
  if (!info.backing_name) return {};
  std::string text = "backing file: " + shown(*info.backing_name);
  if (!info.backing_path) {
    text += " (not a plain file name: never followed)";
  } else if (*info.backing_path != *info.backing_name) {
    text += " (actual path: " + shown(*info.backing_path) + ")";
  }
  text += '\n';
  if (info.backing_format) return text + "backing file format: " + shown(*info.backing_format) + "\n";
  return personality().plain_results ? text : text + "backing file format: not recorded\n";
}

double percent(std::uint64_t part, std::uint64_t whole) {
  return whole ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0;
}

// The last cluster may reach beyond the end of the disk.
std::string allocation_text(const ImageInfo& info, const ClusterUse& use) {
  if (use.total == 0) return {};
  const std::uint64_t bytes = std::min(use.allocated * info.qcow2->cluster_size_bytes, info.virtual_size_bytes);
  return fmt::format("    allocated: {} of {} ({:.2f}%)\n", human_size(bytes), human_size(info.virtual_size_bytes),
                     percent(use.allocated, use.total));
}

std::string cluster_text(const ClusterUse& use) {
  std::string text = fmt::format("    clusters: {} of {} allocated", use.allocated, use.total);
  if (use.zero > 0) text += fmt::format(", {} zero", use.zero);
  if (use.compressed > 0) text += fmt::format(", {} compressed", use.compressed);
  if (use.allocated > 0) text += fmt::format(", {:.2f}% fragmented", percent(use.fragmented, use.allocated));
  return text + '\n';
}

// What goes beyond the classic lines.
std::string details_text(const ImageInfo& info) {
  std::string text = "Details:\n";
  text += fmt::format("    file length: {} ({} bytes)\n", human_size(info.file_size_bytes), info.file_size_bytes);
  if (!info.qcow2) return text;
  if (const auto& use = info.qcow2->cluster_use) text += allocation_text(info, *use) + cluster_text(*use);
  if (!info.qcow2->features.empty()) text += fmt::format("    features: {}\n", fmt::join(info.qcow2->features, ", "));
  return text;
}

}  // namespace

std::string snapshot_list(const std::vector<SnapshotInfo>& snapshots) {
  if (snapshots.empty()) return {};
  std::string text = fmt::format("Snapshot list:\n{:<10}{:<17}{:>8}{:>20}{:>13}{:>11}\n", "ID", "TAG", "VM SIZE",
                                 "DATE", "VM CLOCK", "ICOUNT");
  for (const SnapshotInfo& snapshot : snapshots) {
    const std::string count = snapshot.instruction_count ? std::to_string(*snapshot.instruction_count) : "";
    text += fmt::format("{:<9} {:<16} {:>8}{:>20}{:>13}{:>11}\n", shown(snapshot.id), shown(snapshot.name),
                        human_size(snapshot.vm_state_bytes), local_date(snapshot.date_seconds),
                        clock_text(snapshot.vm_clock_nanoseconds), count);
  }
  return text;
}

std::string info_to_text(const ImageInfo& info) {
  std::string text = fmt::format("image: {}\nfile format: {}\nvirtual size: {} ({} bytes)\n", shown(info.filename),
                                 info.format, human_size(info.virtual_size_bytes), info.virtual_size_bytes);
  if (info.allocated_bytes) text += fmt::format("disk size: {}\n", human_size(*info.allocated_bytes));
  if (info.qcow2) {
    if (info.qcow2->encryption != Encryption::none) text += "encrypted: yes\n";
    text += fmt::format("cluster_size: {}\n", info.qcow2->cluster_size_bytes);
    if (info.qcow2->dirty) text += "cleanly shut down: no\n";
  }
  text += backing_text(info);
  if (info.qcow2) {
    text += snapshot_list(info.qcow2->snapshots);
    text += "Format specific information:\n";
    append_tree(info_to_json(info)["format-specific"]["data"], 4, text);
  }
  return personality().plain_results ? text : text + details_text(info);
}

std::string chain_to_text(const std::vector<ImageInfo>& chain) {
  std::string text = "Backing chain:\n";
  for (std::size_t depth = 0; depth < chain.size(); ++depth) {
    const ImageInfo& info = chain[depth];
    const std::string branch = depth == 0 ? "    " : fmt::format("    {:{}}`- ", "", (depth - 1) * 3);
    text += fmt::format("{}{}: {}, {}", branch, shown(info.filename), info.format, human_size(info.virtual_size_bytes));
    if (info.allocated_bytes) text += fmt::format(", {} on disk", human_size(*info.allocated_bytes));
    if (info.qcow2 && info.qcow2->cluster_use) {
      const ClusterUse& use = *info.qcow2->cluster_use;
      text += fmt::format(", {:.2f}% allocated", percent(use.allocated, use.total));
    }
    text += '\n';
  }
  return text;
}

}  // namespace byre::cli
