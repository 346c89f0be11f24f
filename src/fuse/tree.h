// Directories and files of a mount, by inode number.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "byre/fuse/mount.h"

namespace byre::fuse {

inline constexpr std::uint64_t root_inode = 1;

struct Node {
  std::string name;
  std::uint64_t parent = root_inode;
  const File* file = nullptr;  // null: a directory
};

// Made once; nothing in it changes.
class Tree {
 public:
  // With `root_is_file` the only file is the root itself. The files must outlive it.
  static Result<Tree> make(const std::vector<File>& files, bool root_is_file);

  // Null if there is none.
  const Node* node(std::uint64_t inode) const;
  std::uint64_t find(std::uint64_t parent, std::string_view name) const;  // 0 if there is none
  std::vector<std::uint64_t> children(std::uint64_t parent) const;

 private:
  Result<void> add(const File& file);

  std::vector<Node> nodes_;  // of inode 1, 2, ...
};

}  // namespace byre::fuse
