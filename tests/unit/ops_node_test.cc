// Descriptions of images: their texts, and what is opened from them.

#include <gtest/gtest.h>

#include "byre/data/disk.h"
#include "byre/ops/create.h"
#include "byre/ops/info.h"
#include "byre/ops/node.h"
#include "byre/storage/memory.h"
#include "byre/task/pollers.h"
#include "support/temporary_directory.h"

namespace byre {
namespace {

using Value = NodeDescription::Value;

// "key=value" of every option, with numbers and words as they are.
std::string flat(const NodeDescription& node) {
  std::string text;
  for (const auto& [key, value] : node.options()) {
    if (!text.empty()) text += ' ';
    text += key + '=';
    if (const auto* word = std::get_if<std::string>(&value)) text += *word;
    if (const auto* number = std::get_if<std::int64_t>(&value)) text += '#' + std::to_string(*number);
    if (const auto* flag = std::get_if<bool>(&value)) text += *flag ? "#true" : "#false";
    if (std::holds_alternative<std::nullptr_t>(value)) text += "#null";
  }
  return text;
}

std::string flat(const Result<NodeDescription>& node) {
  return node ? flat(*node) : "error: " + node.error().message();
}

std::string of_name(std::string_view name) { return flat(NodeDescription::from_name(name)); }

TEST(NodeName, PathsArePathsWhateverColonsTheyHave) {
  EXPECT_EQ(of_name("vm.qcow2"), "file.driver=file file.filename=vm.qcow2");
  EXPECT_EQ(of_name("vm:disk"), "file.driver=file file.filename=vm:disk");
  EXPECT_EQ(of_name("./nbd:x"), "file.driver=file file.filename=./nbd:x");
  EXPECT_EQ(of_name("file:json:{}"), "file.driver=file file.filename=json:{}");
  EXPECT_EQ(of_name("/a=b,c"), "file.driver=file file.filename=/a=b,c");
}

TEST(NodeName, AStringIsAPathWhateverItLooksLike) {
  for (const char* name : {"json:{\"driver\":\"null-co\"}", "nbd:localhost:10809", "driver=null-co"}) {
    const NodeDescription node = std::string(name);
    EXPECT_TRUE(node.is_path());
    EXPECT_EQ(node.path(), name);
  }
}

TEST(NodeName, NbdNamesSayServerAndExport) {
  const std::string unix = "file.driver=nbd file.export=a:b file.server.path=/run/s file.server.type=unix";
  EXPECT_EQ(of_name("nbd:unix:/run/s:exportname=a:b"), unix);
  EXPECT_EQ(of_name("nbd+unix:///a%3Ab?socket=/run/s"), unix);
  EXPECT_EQ(of_name("nbd+unix://?socket=/run/s"), "file.driver=nbd file.server.path=/run/s file.server.type=unix");
  const std::string host = "file.driver=nbd file.export=x file.server.host=h file.server.port=7 file.server.type=inet";
  EXPECT_EQ(of_name("nbd:h:7:exportname=x"), host);
  EXPECT_EQ(of_name("nbd://h:7/x"), host);
  EXPECT_EQ(of_name("nbd://[::1]"),
            "file.driver=nbd file.server.host=::1 file.server.port=10809 file.server.type=inet");
}

TEST(NodeName, WrongNbdNamesAreNoPaths) {
  for (const char* name : {"nbd:", "nbd:host", "nbd:unix:", "nbd::1", "nbd:[::1:2", "nbd://", "nbd://u@h/x",
                           "nbd://h/x?socket=/s", "nbd+unix:///x", "nbd+unix://h/x?socket=/s",
                           "nbd+unix:///%4?socket=/s", "nbd+unix:///x?socket=/s&tls=1", "nbd://h:/x"}) {
    const auto node = NodeDescription::from_name(name);
    ASSERT_FALSE(node) << name;
    EXPECT_EQ(node.error().code(), ErrorCode::invalid_argument) << name;
  }
  const auto other = NodeDescription::from_name("https://example.org/x");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code(), ErrorCode::unsupported);
}

TEST(NodeName, TestDriversHaveNamesInsideNames) {
  EXPECT_EQ(of_name("null-co://"), "file.driver=null-co");
  EXPECT_EQ(of_name("blkdebug::d.qcow2"), "file.driver=blkdebug file.image.driver=file file.image.filename=d.qcow2");
  EXPECT_EQ(of_name("blkdebug:c:json:{'driver':'null-co'}"),
            "file.config=c file.driver=blkdebug file.image.driver=null-co");
  EXPECT_EQ(of_name("blkverify:r:blkdebug::d"),
            "file.driver=blkverify file.raw.driver=file file.raw.filename=r file.test.file.driver=blkdebug "
            "file.test.file.image.driver=file file.test.file.image.filename=d");
  EXPECT_FALSE(NodeDescription::from_name("null-co://x"));
  EXPECT_FALSE(NodeDescription::from_name("blkverify:r"));
}

TEST(NodeName, NamesInsideNamesHaveAnEnd) {
  std::string name;
  for (int i = 0; i < 1000; ++i) name += "blkdebug::";
  EXPECT_FALSE(NodeDescription::from_name(name + "x"));
  for (int i = 0; i < 100'000; ++i) name += "blkdebug::";
  EXPECT_FALSE(NodeDescription::from_name(name + "x"));
}

TEST(NodeList, SplitsAtSingleCommasAndTakesTheLastValue) {
  EXPECT_EQ(flat(NodeDescription::from_options("driver=raw,file.filename=a,,b=c,driver=qcow2,")),
            "driver=qcow2 file.filename=a,b=c");
  EXPECT_EQ(flat(NodeDescription::from_options("driver=qcow2,lazy-refcounts,noread-only")),
            "driver=qcow2 lazy-refcounts=on read-only=off");
}

TEST(NodeList, RefusesWhatIsNoList) {
  for (const char* text : {"", ",", "vm.qcow2", "=x", ".a=x", "a.=x", "a..b=x", "driver=raw,=x", "driver=raw,a/b"}) {
    EXPECT_FALSE(NodeDescription::from_options(text)) << text;
  }
  std::string deep = "a";
  for (int i = 0; i < 100'000; ++i) deep += ".a";
  EXPECT_FALSE(NodeDescription::from_options(deep + "=1"));
  std::string many = "a=1";
  for (int i = 0; i < 5000; ++i) many += ",a" + std::to_string(i) + "=1";
  EXPECT_FALSE(NodeDescription::from_options(many));
}

TEST(NodeJson, ObjectsAndArraysBecomeDottedNames) {
  EXPECT_EQ(
      flat(NodeDescription::from_json(R"({"driver":"raw","file":{"driver":"file","n":[1,{"x":true}]},"b":null})")),
      "b=#null driver=raw file.driver=file file.n.0=#1 file.n.1.x=#true");
  EXPECT_EQ(flat(NodeDescription::from_json(R"({"file.filename":"a","file":{"driver":"file"}})")),
            "file.driver=file file.filename=a");
}

TEST(NodeJson, StringsMayBeInSingleQuotes) {
  EXPECT_EQ(flat(NodeDescription::from_json(R"({'a':'it\'s "it"','b':"it's"})")), R"(a=it's "it" b=it's)");
}

TEST(NodeJson, RefusesWhatIsAmbiguousOrNotJson) {
  for (const char* text :
       {"", "{", "[]", "1", "\"x\"", "{}", "{\"a\":1}x", R"({"a":1,"a":2})", R"({"a":{"b":1},"a":{"c":1}})",
        R"({"a.b":1,"a":{"b":1}})", R"({"":1})", R"({"a":{"":1}})", R"({"a":1.5})", R"({"a":1e400})",
        R"({"a":99999999999999999999})", R"({"a":9223372036854775808})", "{'a':'x}", "{\"a\":\"\xff\"}", "{a:1}"}) {
    const auto node = NodeDescription::from_json(text);
    ASSERT_FALSE(node) << text;
    EXPECT_EQ(node.error().code(), ErrorCode::invalid_argument) << text;
  }
}

TEST(NodeJson, DepthAndLengthHaveAnEnd) {
  for (const auto& [begin, end] : {std::pair("{\"a\":", "}"), std::pair("[", "]")}) {
    std::string deep = "{\"x\":";
    for (int i = 0; i < 100'000; ++i) deep += begin;
    deep += '1';
    for (int i = 0; i < 100'000; ++i) deep += end;
    EXPECT_FALSE(NodeDescription::from_json(deep + '}'));
  }
  EXPECT_FALSE(NodeDescription::from_json(std::string(2 << 20, ' ')));
}

TEST(NodePath, IsThereWhereTheImageLiesInAFileOfItsOwn) {
  const auto path_of = [](const char* list) { return NodeDescription::from_options(list)->path(); };
  EXPECT_EQ(path_of("driver=qcow2,file.filename=x"), "x");
  EXPECT_EQ(path_of("driver=file,filename=x"), "x");
  EXPECT_EQ(path_of("driver=raw,offset=512,file.filename=x"), std::nullopt);
  EXPECT_EQ(path_of("driver=qcow2,file.driver=blkdebug,file.image.filename=x"), std::nullopt);
}

class OpenedNode : public testing::Test {
 protected:
  OpenedNode() { loop_ = make_event_loop().value(); }

  std::string path(const std::string& name) const { return directory_.file(name); }
  void make_file(const std::string& name, std::uint64_t size, char content) {
    FileOptions options;
    options.writable = options.create = true;
    const auto file = open_file(path(name), options);
    const std::vector<std::byte> bytes(size, static_cast<std::byte>(content));
    ASSERT_TRUE(loop_->run(write_bytes(**file, 0, bytes)));
  }
  void make_image(const std::string& name, std::optional<std::string> backing = {}) {
    FileOptions options;
    options.writable = options.create = true;
    const auto file = open_file(path(name), options);
    CreateOptions create;
    create.size_bytes = 1 << 20;
    create.backing_file = backing;
    if (backing) create.backing_format = "raw";
    create.open_backing = false;
    const auto made = loop_->run(create_qcow2(**file, create));
    ASSERT_TRUE(made) << made.error().message();
  }
  // With a backing name that create_qcow2() would refuse.
  void make_hostile_image(const std::string& name, const std::string& backing) {
    const std::string other(backing.size(), 'x');
    make_image(name, other);
    FileOptions options;
    options.writable = true;
    const auto file = open_file(path(name), options);
    std::string start(65536, '\0');
    const Bytes target = std::as_writable_bytes(std::span(start));
    ASSERT_TRUE(loop_->run(read_exactly(**file, 0, target)));
    const std::size_t at = start.find(other);
    ASSERT_NE(at, std::string::npos);
    const ConstBytes bytes = std::as_bytes(std::span(backing));
    ASSERT_TRUE(loop_->run(write_bytes(**file, at, bytes)));
  }
  Result<std::unique_ptr<Disk>> open(const std::string& list, bool writable = false) {
    BYRE_TRY(NodeDescription node, NodeDescription::from_options(list));
    OpenOptions options;
    options.writable = writable;
    return loop_->run(open_node(std::move(node), options));
  }
  // The byte at that place; closes the disk.
  std::string byte_of(const std::string& list, std::uint64_t offset) {
    const auto disk = open(list);
    if (!disk) return disk.error().message();
    std::byte byte{};
    const Bytes target(&byte, 1);
    const auto done = loop_->run((*disk)->read(offset, target));
    const auto closed = loop_->run((*disk)->close());
    return done && closed ? std::string(1, static_cast<char>(byte)) : "not read";
  }
  std::string complaint(const std::string& list, bool writable = false) {
    const auto disk = open(list, writable);
    if (disk) (void)loop_->run((*disk)->close());
    return disk ? "" : disk.error().message();
  }

  TemporaryDirectory directory_;
  std::unique_ptr<EventLoop> loop_;
};

TEST_F(OpenedNode, BackingComesFromTheDescriptionWhereThatNamesOne) {
  make_file("named", 1 << 20, 'n');
  make_file("given", 1 << 20, 'g');
  make_image("top", path("named"));
  const std::string top = "driver=qcow2,file.filename=" + path("top");
  EXPECT_EQ(byte_of(top, 0), "n");
  EXPECT_EQ(byte_of(top + ",backing.driver=raw,backing.file.filename=" + path("given"), 0), "g");
  EXPECT_EQ(byte_of(top + ",backing.file.filename=" + path("given"), 0), "g");
  EXPECT_EQ(byte_of(top + ",backing=", 0), std::string(1, '\0'));
}

TEST_F(OpenedNode, BackingThatIsTheImageItselfIsRefused) {
  make_image("top", path("named"));
  const std::string top = "file.filename=" + path("top");
  EXPECT_NE(complaint("driver=qcow2," + top + ",backing.driver=raw,backing." + top).find("loop"), std::string::npos);
}

TEST_F(OpenedNode, RawMayBeAStretch) {
  make_file("file", 4096, 'a');
  const std::string file = "driver=raw,file.filename=" + path("file");
  const auto stretch = open(file + ",offset=512,size=1k");
  ASSERT_TRUE(stretch) << stretch.error().message();
  EXPECT_EQ((*stretch)->size_bytes(), 1024u);
  ASSERT_TRUE(loop_->run((*stretch)->close()));
  EXPECT_NE(complaint(file + ",offset=4k,size=1"), "");
  EXPECT_NE(complaint(file + ",offset=8E"), "");
}

TEST_F(OpenedNode, ImagesInsideImagesAreRead) {
  make_file("named", 1 << 20, 'n');
  make_image("inner", path("named"));
  EXPECT_EQ(byte_of("driver=raw,offset=64k,file.driver=qcow2,file.file.filename=" + path("inner"), 0), "n");
  EXPECT_EQ(byte_of("driver=raw,file.driver=qcow2,file.file.filename=" + path("inner"), 0), "n");
  EXPECT_NE(complaint("driver=raw,offset=64k,file.driver=qcow2,file.file.filename=" + path("inner"), true), "");
}

TEST_F(OpenedNode, EachUnknownOptionAndValueIsNamed) {
  make_image("top");
  const std::string top = "driver=qcow2,file.filename=" + path("top");
  for (const char* option :
       {"foo=1", "file.foo=1", "file.driver.x=1", "offset=0", "lazy-refcounts=2", "cache-size=x",
        "read-only=", "discard=yes", "file.aio=fast", "l2-cache-entry-size=3k", "cache-clean-interval=9999999999",
        "overlap-check.template=some", "data-file.filename=x", "encrypt.format=luks", "file.locking=perhaps",
        "file.detect-zeroes=on", "file.driver=quorum", "backing=node0", "file.pr-manager=x"}) {
    const std::string said = complaint(top + "," + option);
    const std::string_view key = std::string_view(option).substr(0, std::string_view(option).find('='));
    EXPECT_NE(said.find(key.substr(0, key.find(".filename"))), std::string::npos) << option << ": " << said;
  }
}

TEST_F(OpenedNode, ReadOnlyAndForceShareAreNotForWriting) {
  make_image("top");
  const std::string top = "driver=qcow2,file.filename=" + path("top");
  for (const char* option : {"read-only=on", "force-share=on", "file.read-only=on", "file.locking=off"}) {
    EXPECT_NE(complaint(top + "," + option, true), "") << option;
    EXPECT_EQ(complaint(top + "," + option), "") << option;
  }
}

TEST_F(OpenedNode, AnotherFormatThanTheDriverIsForReadingOnly) {
  make_image("top");
  const auto node = NodeDescription::from_options("driver=qcow2,file.filename=" + path("top"));
  for (const bool writable : {false, true}) {
    OpenOptions options;
    options.format = "raw";
    options.writable = writable;
    const auto disk = loop_->run(open_node(*node, options));
    EXPECT_EQ(disk.has_value(), !writable);
    if (disk) {
      EXPECT_EQ((*disk)->format(), "raw");
    }
  }
}

TEST_F(OpenedNode, AboveABackingFileThatTheImageDoesNotNameIsOnlyRead) {
  make_file("given", 1 << 20, 'g');
  make_image("top");
  const std::string top =
      "driver=qcow2,file.filename=" + path("top") + ",backing.driver=raw,backing.file.filename=" + path("given");
  EXPECT_EQ(byte_of(top, 0), "g");
  EXPECT_NE(complaint(top, true).find("names no backing file"), std::string::npos);
}

TEST_F(OpenedNode, DetectedZeroesAreNotStored) {
  for (const bool detects : {false, true}) {
    make_image("top");
    const auto disk = open("driver=qcow2,file.filename=" + path("top") + (detects ? ",detect-zeroes=unmap" : ""), true);
    ASSERT_TRUE(disk) << disk.error().message();
    const std::vector<std::byte> zeros(128 << 10);
    ASSERT_TRUE(loop_->run((*disk)->write(0, zeros)));
    const auto status = loop_->run((*disk)->layer_status(0, 4096));
    ASSERT_TRUE(status);
    EXPECT_EQ(status->data, !detects);
    ASSERT_TRUE(loop_->run((*disk)->close()));
  }
}

TEST_F(OpenedNode, NullStoragesKeepNothing) {
  EXPECT_EQ(byte_of("driver=null-co,read-zeroes=on,size=4k,latency-ns=1000", 4095), std::string(1, '\0'));
  EXPECT_NE(byte_of("driver=null-co,size=4k", 0), std::string(1, '\0'));
  EXPECT_NE(complaint("driver=null-co,latency-ns=9999999999999"), "");
}

TEST_F(OpenedNode, AnImageIsNeverADescription) {
  for (const std::string name : {"json:{\"driver\":\"null-co\"}", "nbd:unix:/x", "null-co://"}) {
    make_hostile_image("top", name);
    EXPECT_NE(complaint("driver=qcow2,file.filename=" + path("top")).find("not a plain file name"), std::string::npos);
  }
}

TEST_F(OpenedNode, InfoTellsOfTheNamedFileAlone) {
  make_hostile_image("top", "json:{\"driver\":\"null-co\"}");
  const auto node = NodeDescription::from_json("{'driver':'qcow2','file':{'filename':'" + path("top") + "'}}");
  ASSERT_TRUE(node);
  const auto info = loop_->run(image_info(*node, {}));
  ASSERT_TRUE(info) << info.error().message();
  EXPECT_EQ(info->format, "qcow2");
  EXPECT_EQ(info->filename, path("top"));
}

}  // namespace
}  // namespace byre
