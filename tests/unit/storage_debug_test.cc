// The storage that fails by rules and stops at break points, and the configuration of its rules.

#include <gtest/gtest.h>

#include "byre/storage/memory.h"
#include "byre/task/pollers.h"
#include "byre/task/sync.h"
#include "ops/debug_node.h"
#include "storage/debug_storage.h"
#include "storage/window_storage.h"

namespace byre {
namespace {

FaultRule fault_at(AccessEvent event) {
  FaultRule rule;
  rule.event = event;
  return rule;
}

bool write_fails(DebugRules& rules, std::uint64_t offset = 0, std::uint64_t length = 512) {
  return rules.take_fault(AccessKind::write, offset, length).has_value();
}

TEST(DebugRulesTest, AFaultWaitsForItsEventAndStays) {
  DebugRules rules({fault_at(AccessEvent::l2_update)}, {});
  EXPECT_FALSE(write_fails(rules));
  rules.pass(AccessEvent::l1_update);
  EXPECT_FALSE(write_fails(rules));
  rules.pass(AccessEvent::l2_update);
  EXPECT_TRUE(write_fails(rules));
  EXPECT_TRUE(write_fails(rules));
}

TEST(DebugRulesTest, OnceIsOnce) {
  FaultRule rule = fault_at(AccessEvent::l2_update);
  rule.once = true;
  DebugRules rules({rule}, {});
  rules.pass(AccessEvent::l2_update);
  EXPECT_TRUE(write_fails(rules));
  rules.pass(AccessEvent::l2_update);
  EXPECT_FALSE(write_fails(rules));
}

TEST(DebugRulesTest, StatesCountCalls) {
  FaultRule third = fault_at(AccessEvent::write_aio);
  third.state = 3;
  DebugRules rules({third}, {{AccessEvent::write_aio, 2, 3}, {AccessEvent::write_aio, 1, 2}});
  rules.pass(AccessEvent::write_aio);
  EXPECT_FALSE(write_fails(rules));
  EXPECT_EQ(rules.state(), 2u);
  rules.pass(AccessEvent::write_aio);
  EXPECT_FALSE(write_fails(rules));
  rules.pass(AccessEvent::write_aio);
  EXPECT_TRUE(write_fails(rules));
}

TEST(DebugRulesTest, KindAndSectorNarrowAFault) {
  FaultRule rule = fault_at(AccessEvent::none);
  rule.kind = AccessKind::write;
  rule.sector = 2;
  DebugRules rules({rule}, {});
  rules.pass(AccessEvent::none);
  EXPECT_FALSE(rules.take_fault(AccessKind::read, 0, 4096));
  EXPECT_FALSE(write_fails(rules, 0, 1024));
  EXPECT_FALSE(write_fails(rules, 1536, 512));
  EXPECT_TRUE(write_fails(rules, 1535, 1));
  EXPECT_TRUE(write_fails(rules, 0, 4096));
  EXPECT_FALSE(rules.take_fault(AccessKind::flush, 0, 0));
}

TEST(DebugRulesTest, QuestionsAboutHolesFailOnlyWhereThatIsSaid) {
  DebugRules rules({fault_at(AccessEvent::none)}, {});
  rules.pass(AccessEvent::none);
  EXPECT_FALSE(rules.take_fault(AccessKind::block_status, 0, 1));
  EXPECT_TRUE(rules.take_fault(AccessKind::flush, 0, 0));
}

class DebugStorageTest : public testing::Test {
 protected:
  DebugStorageTest() { loop_ = make_event_loop().value(); }
  void make(std::vector<FaultRule> faults) {
    auto memory = std::make_unique<MemoryStorage>(4096);
    memory_ = memory.get();
    storage_ = std::make_unique<DebugStorage>(std::move(memory), DebugRules(std::move(faults), {}));
  }
  Result<void> write(std::byte value) {
    const std::vector<std::byte> bytes(512, value);
    return loop_->run(write_bytes(*storage_, 0, bytes));
  }

  std::unique_ptr<EventLoop> loop_;
  MemoryStorage* memory_ = nullptr;
  std::unique_ptr<DebugStorage> storage_;
};

TEST_F(DebugStorageTest, FaultsHaveTheirErrnoAndChangeNothing) {
  FaultRule rule = fault_at(AccessEvent::pwritev);
  rule.errno_value = ENOSPC;
  rule.once = true;
  make({rule});
  const auto failed = write(std::byte{1});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), ErrorCode::no_space);
  EXPECT_EQ(failed.error().errno_value(), ENOSPC);
  EXPECT_EQ(memory_->content()[0], std::byte{0});
  ASSERT_TRUE(write(std::byte{1}));
  EXPECT_EQ(memory_->content()[0], std::byte{1});
}

TEST_F(DebugStorageTest, AnEventReachesItThroughOtherStorages) {
  FaultRule rule = fault_at(AccessEvent::l2_load);
  make({rule});
  WindowStorage window(std::move(storage_), 512, 1024);
  std::byte byte{};
  const Bytes target(&byte, 1);
  EXPECT_TRUE(loop_->run(window.read(0, target)));
  window.announce(AccessEvent::l2_load);
  EXPECT_FALSE(loop_->run(window.read(0, target)));
  EXPECT_NE(window.break_points(), nullptr);
}

Task<Result<void>> write_with_break(Storage& storage, BreakPoints& points, const MemoryStorage& memory) {
  points.set(AccessEvent::write_aio, "A");
  TaskGroup group;
  const std::vector<std::byte> bytes(512, std::byte{7});
  storage.announce(AccessEvent::write_aio);
  group.start(write_bytes(storage, 0, bytes));
  EXPECT_TRUE(points.is_suspended("A"));
  // Another one passes: the point has stopped what it stops.
  const std::vector<std::byte> other(512, std::byte{8});
  storage.announce(AccessEvent::write_aio);
  BYRE_CO_CHECK(co_await write_bytes(storage, 1024, other));
  EXPECT_EQ(memory.content()[1024], std::byte{8});
  EXPECT_EQ(memory.content()[0], std::byte{0});
  EXPECT_FALSE(points.resume("B"));
  EXPECT_TRUE(points.resume("A"));
  co_return co_await group.join();
}

TEST_F(DebugStorageTest, BreakPointsHoldOneAccessUntilItIsResumed) {
  make({});
  std::string heard;
  storage_->break_points()->set_listener([&](std::string_view tag, BreakPoints::Change change) {
    heard += std::string(tag) + (change == BreakPoints::Change::suspended ? "-" : "+");
  });
  ASSERT_TRUE(loop_->run(write_with_break(*storage_, *storage_->break_points(), *memory_)));
  EXPECT_EQ(memory_->content()[0], std::byte{7});
  EXPECT_EQ(heard, "A-A+");
}

ops::NodeOptions options_of(const char* list) {
  return ops::NodeOptions(NodeDescription::from_options(list)->options());
}

TEST(DebugConfigTest, SectionsBecomeOptionsBehindThoseThatAreThere) {
  ops::NodeOptions node = options_of("inject-error.0.event=l2_load");
  const auto added = ops::add_debug_config(
      "# a comment\n\n[inject-error]\n event = \"write_aio\"\r\nerrno=\"28\"\n[set-state \"x\"]\nevent = \"none\"\n",
      node);
  ASSERT_TRUE(added) << added.error().message();
  EXPECT_EQ(node.text_or("inject-error.1.event", ""), "write_aio");
  EXPECT_EQ(node.text_or("inject-error.1.errno", ""), "28");
  EXPECT_EQ(node.text_or("set-state.0.event", ""), "none");
}

TEST(DebugConfigTest, WrongLinesAreNamed) {
  for (const char* text : {"[foo]\n", "event = \"x\"\n", "[inject-error]\nevent = x\n", "[inject-error]\nevent\n",
                           "[inject-error]\n= \"x\"\n", "[inject-error\n", "[inject-error]\na=\"1\"\na=\"2\"", "[]"}) {
    ops::NodeOptions node = options_of("driver=blkdebug");
    const auto added = ops::add_debug_config(text, node);
    ASSERT_FALSE(added) << text;
    EXPECT_EQ(added.error().message().rfind("line ", 0), 0u);
  }
}

TEST(DebugConfigTest, WrongRulesAreNamed) {
  const auto loop = make_event_loop().value();
  for (const char* list :
       {"inject-error.0.event=l2_alloc_write", "inject-error.0.errno=5",
        "inject-error.0.event=l2_load,inject-error.0.errno=0", "inject-error.0.event=l2_load,inject-error.0.sector=-2",
        "inject-error.0.event=l2_load,inject-error.0.x=1", "inject-error.1.event=l2_load", "set-state.0.event=l2_load",
        "inject-error.0.event=l2_load,inject-error.0.iotype=x",
        "set-state.0.event=l2_load,set-state.0.new_state=4294967296", "align=x"}) {
    ops::NodeOptions node = options_of(list);
    const auto rules = loop->run(ops::take_debug_rules(node));
    EXPECT_FALSE(rules) << list;
  }
  ops::NodeOptions node = options_of("inject-error.0.event=l2_load,inject-error.0.sector=-1,align=512");
  EXPECT_TRUE(loop->run(ops::take_debug_rules(node)));
}

}  // namespace
}  // namespace byre
