// Every crash state is read into buffers of its own, some hundred KiB each. Given back to the system and got again,
// they cost a fifth of the run in page faults.

#include <gtest/gtest.h>
#include <malloc.h>

namespace byre::test {
namespace {

class KeepMemory : public testing::Environment {
 public:
  void SetUp() override {
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
  }
};

[[maybe_unused]] const auto* const kept = testing::AddGlobalTestEnvironment(new KeepMemory);

}  // namespace
}  // namespace byre::test
