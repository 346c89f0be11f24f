// A handful of nodes, looked through from the front.

#include "fuse/tree.h"

#include "base/text.h"

namespace byre::fuse {
namespace {

bool is_good_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.size() <= 255 &&
         name.find_first_of(std::string_view("/\0", 2)) == std::string_view::npos;
}

}  // namespace

Result<Tree> Tree::make(const std::vector<File>& files, bool root_is_file) {
  Tree tree;
  tree.nodes_.push_back({});
  for (const File& file : files) {
    BYRE_CHECK(file.part.check());
    if (root_is_file) continue;
    BYRE_CHECK(tree.add(file));
  }
  if (!root_is_file) return tree;
  if (files.size() != 1) {
    return fail(ErrorCode::invalid_argument, "{} files cannot take the place of one: mount them on a directory",
                files.size());
  }
  tree.nodes_.front().file = &files.front();
  return tree;
}

Result<void> Tree::add(const File& file) {
  std::string_view name = file.name;
  std::uint64_t parent = root_inode;
  if (const std::size_t slash = name.find('/'); slash != std::string_view::npos) {
    const std::string_view directory = name.substr(0, slash);
    name.remove_prefix(slash + 1);
    if (!is_good_name(directory)) name = {};
    parent = find(root_inode, directory);
    if (parent == 0) {
      nodes_.push_back({std::string(directory), root_inode, nullptr});
      parent = nodes_.size();
    }
  }
  if (!is_good_name(name) || node(parent)->file) {
    return fail(ErrorCode::invalid_argument, "'{}' cannot be the name of a file", escape_untrusted(file.name));
  }
  if (find(parent, name) != 0) {
    return fail(ErrorCode::invalid_argument, "there are two files '{}'", escape_untrusted(file.name));
  }
  nodes_.push_back({std::string(name), parent, &file});
  return {};
}

const Node* Tree::node(std::uint64_t inode) const {
  return inode == 0 || inode > nodes_.size() ? nullptr : &nodes_[inode - 1];
}

std::uint64_t Tree::find(std::uint64_t parent, std::string_view name) const {
  for (std::uint64_t inode = root_inode + 1; inode <= nodes_.size(); ++inode) {
    if (nodes_[inode - 1].parent == parent && nodes_[inode - 1].name == name) return inode;
  }
  return 0;
}

std::vector<std::uint64_t> Tree::children(std::uint64_t parent) const {
  std::vector<std::uint64_t> found;
  for (std::uint64_t inode = root_inode + 1; inode <= nodes_.size(); ++inode) {
    if (nodes_[inode - 1].parent == parent) found.push_back(inode);
  }
  return found;
}

}  // namespace byre::fuse
