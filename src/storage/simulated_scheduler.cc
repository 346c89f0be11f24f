// The scheduler: a list of pending entries in the order of their submission, and a choice among them.

#include "byre/base/assert.h"
#include "byre/storage/simulated.h"

namespace byre {

std::uint64_t SimulatedRandom::next() {
  std::uint64_t mixed = state_ += 0x9e3779b97f4a7c15;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
  return mixed ^ (mixed >> 31);
}

class SimulatedScheduler::Offloaded final : public Entry {
 public:
  explicit Offloaded(SimulatedScheduler& scheduler) : scheduler_(scheduler) {}
  void set(std::function<void()> work, std::coroutine_handle<> done) {
    work_ = std::move(work);
    done_ = done;
  }

 protected:
  std::coroutine_handle<> complete() override {
    work_();
    work_ = nullptr;
    scheduler_.spare_offloaded_.push_back(this);
    return done_;
  }

 private:
  SimulatedScheduler& scheduler_;
  std::function<void()> work_;
  std::coroutine_handle<> done_;
};

SimulatedScheduler::SimulatedScheduler(std::uint64_t seed) : random_(seed) {}
SimulatedScheduler::~SimulatedScheduler() = default;

void SimulatedScheduler::offload(std::function<void()> work, std::coroutine_handle<> done) {
  if (spare_offloaded_.empty()) {
    offloaded_.push_back(std::make_unique<Offloaded>(*this));
    spare_offloaded_.push_back(offloaded_.back().get());
  }
  Offloaded& entry = *spare_offloaded_.back();
  spare_offloaded_.pop_back();
  entry.set(std::move(work), done);
  submit(entry);
}

bool SimulatedScheduler::wait(bool may_block) {
  if (woken_.exchange(false)) return true;
  if (may_block) {
    if (pending_.empty()) return false;
    complete_one();
  } else if (!choose_ && !pending_.empty() && random_.one_in(4)) {
    complete_one();
  }
  return true;
}

void SimulatedScheduler::complete_one() {
  if (before_pick_) before_pick_();
  const std::size_t index =
      choose_ ? choose_(pending_.size()) : static_cast<std::size_t>(random_.below(pending_.size()));
  BYRE_ASSERT(index < pending_.size());
  ++picks_;
  const std::coroutine_handle<> next = pending_[index]->complete();
  if (!next) return;
  pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(index));
  EventLoop::current().schedule(next);
}

}  // namespace byre
