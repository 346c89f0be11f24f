// Entries gather while coroutines run and go to the kernel in few system calls per turn of the loop. Blocking waits in
// the same call. Other threads and the worker pool wake the loop through a one-shot poll of the eventfd, which is
// armed only when the loop is about to sleep. Left out: registered files and buffers, which save some hundred
// nanoseconds per request and bind the storage to the ring.

#include "task/uring_poller.h"

#include <poll.h>

#include "byre/base/assert.h"

namespace byre {
namespace {
constexpr unsigned ring_entries = 256;
// So many go to the kernel before the turn ends: with all of a deep queue in one call, the device waits while
// coroutines run, and they wait while it works (docs/benchmarks.md).
constexpr unsigned entries_at_once = 8;

int set_up(io_uring* ring) {
  // Completions are processed when this thread enters the kernel anyway, instead of interrupting it.
  io_uring_params params{};
  params.flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
  const int status = io_uring_queue_init_params(ring_entries, ring, &params);
  return status == -EINVAL ? io_uring_queue_init(ring_entries, ring, 0) : status;
}
}  // namespace

Result<std::unique_ptr<UringPoller>> UringPoller::make(std::unique_ptr<PoolCompletions> completions) {
  std::unique_ptr<UringPoller> poller(new UringPoller(std::move(completions)));
  const int status = set_up(&poller->ring_);
  if (status < 0) {
    Error error = Error::from_errno(-status, "io_uring is not available here (try BYRE_IO=threads)");
    return std::unexpected(Error(ErrorCode::unsupported, error.message(), -status));
  }
  poller->have_ring_ = true;
  return poller;
}

UringPoller::~UringPoller() {
  if (!have_ring_) return;
  // The kernel still writes to the buffers of requests under way; their coroutines are not resumed any more.
  while (under_way_ > 0) {
    io_uring_submit_and_wait(&ring_, 1);
    io_uring_cqe* entry;
    while (io_uring_peek_cqe(&ring_, &entry) == 0) {
      if (io_uring_cqe_get_data(entry)) --under_way_;
      io_uring_cqe_seen(&ring_, entry);
    }
  }
  io_uring_queue_exit(&ring_);
}

io_uring_sqe* UringPoller::next_entry() {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  while (!entry) {
    io_uring_submit(&ring_);
    collect();  // the kernel refuses more while completions overflow
    entry = io_uring_get_sqe(&ring_);
  }
  return entry;
}

void UringPoller::start(io_uring_sqe* entry, Request& request) {
  io_uring_sqe_set_data(entry, &request);
  ++under_way_;
  if (io_uring_sq_ready(&ring_) >= entries_at_once) io_uring_submit(&ring_);
}

void UringPoller::arm_event() {
  if (event_armed_) return;
  io_uring_sqe* entry = next_entry();
  io_uring_prep_poll_add(entry, completions_->event_fd(), POLLIN);
  io_uring_sqe_set_data(entry, nullptr);
  event_armed_ = true;
}

void UringPoller::collect() {
  io_uring_cqe* entry = nullptr;
  if (io_uring_peek_cqe(&ring_, &entry) != 0) return;
  unsigned head = 0;
  unsigned count = 0;
  io_uring_for_each_cqe(&ring_, head, entry) {
    ++count;
    if (auto* request = static_cast<Request*>(io_uring_cqe_get_data(entry))) {
      request->result = entry->res;
      --under_way_;
      EventLoop::current().schedule(request->waiter);
    } else {
      event_armed_ = false;
      completions_->drain();
    }
  }
  io_uring_cq_advance(&ring_, count);
}

void UringPoller::arm() {
  arm_event();
  if (io_uring_sq_ready(&ring_) > 0) io_uring_submit(&ring_);
}

bool UringPoller::wait(bool may_block) {
  const bool noticed = completions_->has_notice();
  // The eventfd's completion may be there with nothing under way: left there, it would keep the descriptor readable.
  const bool has_completion = io_uring_cq_ready(&ring_) > 0;
  if (under_way_ + completions_->under_way() == 0 && !noticed && !has_completion) return !may_block;
  const bool block = may_block && !noticed && !has_completion;
  if (block) {
    arm_event();
    io_uring_submit_and_wait(&ring_, 1);  // EINTR: the loop comes back
  } else if (io_uring_sq_ready(&ring_) > 0) {
    io_uring_submit(&ring_);
  }
  collect();
  if (completions_->take_notice()) completions_->collect();
  return true;
}

}  // namespace byre
