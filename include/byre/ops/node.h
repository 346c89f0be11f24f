// What is to be opened, as a tree: a format ("qcow2", "raw") over a protocol ("file", "nbd", ...), each with options of
// its own, and perhaps other layers instead of those that an image names.
//
//   auto node = NodeDescription::from_options("driver=qcow2,file.filename=vm.qcow2,lazy-refcounts=on");
//   auto disk = loop.run(open_node(*node, options));
//
// Only a caller describes. A name inside an image is never read as a description, whatever it looks like
// (docs/format.md H-49, H-50). docs/decisions/0023-image-options.md says which drivers and options there are.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "byre/data/disk.h"

namespace byre {

class NodeDescription {
 public:
  using Value = std::variant<std::nullptr_t, bool, std::int64_t, std::string>;
  // By full name: "driver", "file.filename", "backing.file.driver".
  using Options = std::map<std::string, Value, std::less<>>;

  // The host file of that name, whatever the name looks like. Implicit: a string is a path unless somebody asks for
  // more.
  NodeDescription(std::string path);
  NodeDescription(const char* path) : NodeDescription(std::string(path)) {}

  // A name as a command line has it: "json:{...}", "file:PATH", "nbd:HOST:PORT[:exportname=NAME]",
  // "nbd:unix:PATH[:exportname=NAME]", "nbd://HOST[:PORT]/NAME", "nbd+unix:///NAME?socket=PATH", "null-co://",
  // "null-aio://", "blkdebug:[CONFIG]:NAME", "blkverify:PATH:NAME", else a path. Errors: invalid_argument (a name that
  // begins so but does not go on so), unsupported (a protocol that is known, but not here).
  static Result<NodeDescription> from_name(std::string_view name);

  // "driver=qcow2,file.filename=vm.qcow2,...": two commas stand for one in a value, a key without a value means "on",
  // the last of several values counts. Errors: invalid_argument.
  static Result<NodeDescription> from_options(std::string_view list);

  // The same with the options of a list as from_options() has it, which go before what there is.
  Result<NodeDescription> with_options(std::string_view list) const;

  // A JSON object. Objects and arrays inside it are the same as dotted names; strings may be in single quotes. Errors:
  // invalid_argument (not JSON, not an object, a key that comes twice, too deep, a fraction).
  static Result<NodeDescription> from_json(std::string_view text);

  // As it was given, for messages. Not escaped.
  const std::string& text() const { return text_; }
  // Whether it is a path and nothing else.
  bool is_path() const;
  // The host file that holds the image, if it lies in one that nothing stands before.
  std::optional<std::string> path() const;
  const Options& options() const { return options_; }
  bool has_below(std::string_view name) const;  // an option of that name, or one of its children

 private:
  NodeDescription(std::string text, Options options) : text_(std::move(text)), options_(std::move(options)) {}
  std::string text_;
  Options options_;
};

// Opens what is described; `options` holds where the description says nothing, but for the format, where it goes before
// the driver. Errors: those of open_disk(); also invalid_argument (an option that no driver takes, or with a value that
// it cannot have; to write, another format than the driver's), unsupported (a driver or an option that this engine has
// not).
Task<Result<std::unique_ptr<Disk>>> open_node(NodeDescription node, OpenOptions options);

// The bytes that hold an image, for who reads them without a disk.
struct NodeStorage {
  std::unique_ptr<Storage> storage;
  OpenOptions options;  // those for open_disk(), with what the description says; the layer below is not among it
};
// Nothing of the image is read, unless its format has to be guessed.
Task<Result<NodeStorage>> open_node_storage(NodeDescription node, OpenOptions options);

}  // namespace byre
