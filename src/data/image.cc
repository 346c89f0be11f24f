// Each request is a coroutine on a loop that nobody waits in: the caller's polling drives it. What has completed before
// the caller looks makes the descriptor readable by a wake-up of the loop, as another thread's would.

#include "byre/data/image.h"

#include <utility>

namespace byre {

Result<std::unique_ptr<Image>> Image::open(Task<Result<std::unique_ptr<Disk>>> opening, IoMode mode) {
  BYRE_TRY(std::unique_ptr<EventLoop> loop, make_event_loop(mode));
  BYRE_TRY(std::unique_ptr<Disk> disk, loop->run(std::move(opening)));
  return std::unique_ptr<Image>(new Image(std::move(loop), std::move(disk)));
}

Image::Image(std::unique_ptr<EventLoop> loop, std::unique_ptr<Disk> disk)
    : loop_(std::move(loop)), disk_(std::move(disk)) {}

Image::~Image() { loop_->run_spawned(); }

void Image::read(std::uint64_t offset_bytes, Bytes target, std::uint64_t tag) {
  start(disk_->read(offset_bytes, target), tag);
}

void Image::write(std::uint64_t offset_bytes, ConstBytes data, std::uint64_t tag) {
  start(disk_->write(offset_bytes, data), tag);
}

void Image::write_zeroes(std::uint64_t offset_bytes, std::uint64_t length_bytes, ZeroMode mode, std::uint64_t tag) {
  start(disk_->write_zeroes(offset_bytes, length_bytes, mode), tag);
}

void Image::discard(std::uint64_t offset_bytes, std::uint64_t length_bytes, std::uint64_t tag) {
  start(disk_->discard(offset_bytes, length_bytes), tag);
}

void Image::flush(std::uint64_t tag) { start(disk_->flush(), tag); }

void Image::start(Task<Result<void>> request, std::uint64_t tag) { loop_->spawn(run(std::move(request), tag)); }

Task<void> Image::run(Task<Result<void>> request, std::uint64_t tag) {
  ++running_;
  Result<void> result = co_await request;
  completed_.push_back({tag, std::move(result)});
  --running_;
  changed_.wake_all();
}

void Image::submit() {
  loop_->advance();
  if (!completed_.empty()) loop_->poller().wake();
}

std::vector<Image::Completion> Image::completions() {
  loop_->advance();
  return std::exchange(completed_, {});
}

std::vector<Image::Completion> Image::wait() {
  loop_->run(until_one_completed());
  return std::exchange(completed_, {});
}

Task<void> Image::until_one_completed() {
  while (completed_.empty() && running_ > 0) co_await changed_.wait();
}

Task<void> Image::until_all_completed() {
  while (running_ > 0) co_await changed_.wait();
}

Result<void> Image::close() {
  loop_->run(until_all_completed());
  return loop_->run(disk_->close());
}

}  // namespace byre
