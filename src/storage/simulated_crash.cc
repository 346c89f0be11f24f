// What a crash leaves. The plan lists, for each number of volatile resizes that the disk may have kept (an epoch), the
// sectors about which there is a choice and the choices. It depends only on the moment, so that many images of one
// moment cost a copy of the durable content and one draw per sector each. Choices of single sectors are independent,
// which is more than real disks do; so random images also draw per write, all sectors of one write the same way, since
// "this write whole, that one not at all" would almost never come up otherwise.

#include <algorithm>
#include <cstring>

#include "base/math.h"
#include "byre/base/assert.h"
#include "storage/simulated_state.h"

namespace byre {
namespace {

constexpr std::size_t overlay_limit = 32;  // per sector; more in flight at once are as if not yet begun

// Adds `more` to a count that stays at its limit once it is there.
std::uint64_t saturating_product(std::uint64_t value, std::uint64_t factor, std::uint64_t limit) {
  return std::min(checked_multiply(value, factor).value_or(limit), limit);
}

std::uint64_t choices_of(const SectorChoice& sector) {
  return std::uint64_t{sector.version_count()} << sector.overlay_count;
}

std::uint64_t choices_of(const CrashEpoch& epoch, std::uint64_t limit) {
  std::uint64_t count = 1;
  for (const SectorChoice& sector : epoch.sectors) count = saturating_product(count, choices_of(sector), limit);
  return count;
}

void begin_choice(CrashChoice& choice, const CrashPlan& plan, std::size_t epoch) {
  choice.epoch = epoch;
  choice.versions.assign(plan.epochs[epoch].sectors.size(), 0);
  choice.overlays.assign(plan.epochs[epoch].sectors.size(), 0);
  choice.resizes = 0;
}

std::uint64_t all_ones(std::size_t bits) { return (std::uint64_t{1} << bits) - 1; }

// The version that choice number `index` of the sector means, or null for the durable one.
const SectorVersion* version_of(const SectorChoice& sector, std::size_t index) {
  if (!sector.durable) return &sector.versions[index];
  return index == 0 ? nullptr : &sector.versions[index - 1];
}

void choose_everything(const CrashPlan& plan, CrashChoice& choice) {
  begin_choice(choice, plan, plan.epochs.size() - 1);
  const auto& sectors = plan.epochs.back().sectors;
  for (std::size_t i = 0; i < sectors.size(); ++i) {
    choice.versions[i] = static_cast<std::uint32_t>(sectors[i].version_count() - 1);
    choice.overlays[i] = all_ones(sectors[i].overlay_count);
  }
  choice.resizes = all_ones(plan.resizes.size());
}

// Changes up to number `last` are kept, of the next one the sectors below `torn_sector`. Those in flight follow the
// completed ones, whose last number is `completed`, in the order of their submission.
void choose_prefix(const CrashPlan& plan, CrashChoice& choice, std::uint64_t last, std::uint64_t completed,
                   std::size_t torn_sector) {
  const auto kept = [&](std::uint64_t number, std::size_t sector) {
    return number <= last || (number == last + 1 && sector < torn_sector);
  };
  const auto& sectors = plan.epochs[choice.epoch].sectors;
  for (std::size_t i = 0; i < sectors.size(); ++i) {
    const SectorChoice& sector = sectors[i];
    for (std::size_t version = 0; version < sector.version_count(); ++version) {
      const SectorVersion* content = version_of(sector, version);
      if (!content || kept(content->sequence, sector.sector)) choice.versions[i] = static_cast<std::uint32_t>(version);
    }
    for (std::size_t bit = 0; bit < sector.overlay_count; ++bit) {
      const CrashOverlay& overlay = plan.overlays[sector.first_overlay + bit];
      if (kept(completed + 1 + overlay.order, sector.sector)) choice.overlays[i] |= std::uint64_t{1} << bit;
    }
  }
  for (std::size_t i = 0; i < plan.resizes.size(); ++i) {
    if (completed + 1 + plan.resizes[i].order <= last) choice.resizes |= std::uint64_t{1} << i;
  }
}

// Draws whether a change is kept, the same answer for all of its sectors.
struct ChangeDraw {
  std::uint64_t salt;
  std::uint64_t threshold;  // of 8
  bool operator()(std::uint64_t number) const { return SimulatedRandom(salt ^ (number << 20)).next() % 8 < threshold; }
};

void choose_random(const CrashPlan& plan, CrashChoice& choice, SimulatedRandom& random) {
  begin_choice(choice, plan, as_size(random.below(plan.epochs.size())));
  constexpr std::array<std::uint64_t, 4> likelihoods{1, 4, 4, 7};
  const ChangeDraw draw{random.next(), likelihoods[random.below(likelihoods.size())]};
  constexpr std::uint64_t in_flight_numbers = std::uint64_t{1} << 40;
  // One in `tearing` sectors is drawn for itself: all, some, none.
  constexpr std::array<std::uint64_t, 3> tearing{1, 8, 1u << 30};
  const std::uint64_t one_in = tearing[random.below(tearing.size())];
  const auto& sectors = plan.epochs[choice.epoch].sectors;
  for (std::size_t i = 0; i < sectors.size(); ++i) {
    const SectorChoice& sector = sectors[i];
    if (random.one_in(one_in)) {
      choice.versions[i] = static_cast<std::uint32_t>(random.below(sector.version_count()));
      choice.overlays[i] = random.next() & all_ones(sector.overlay_count);
      continue;
    }
    for (std::size_t version = sector.version_count(); version-- > 0;) {
      const SectorVersion* content = version_of(sector, version);
      if (content && !draw(content->sequence)) continue;
      choice.versions[i] = static_cast<std::uint32_t>(version);
      break;
    }
    for (std::size_t bit = 0; bit < sector.overlay_count; ++bit) {
      const std::size_t order = plan.overlays[sector.first_overlay + bit].order;
      if (draw(in_flight_numbers + order)) choice.overlays[i] |= std::uint64_t{1} << bit;
    }
  }
  choice.resizes = random.next() & all_ones(plan.resizes.size());
}

}  // namespace

void SimulatedDisk::State::plan_overlays(std::vector<std::vector<CrashOverlay>>& by_sector) const {
  const std::uint64_t size = options.sector_bytes;
  for (std::size_t order = 0; order < in_flight.size(); ++order) {
    const Operation& operation = *in_flight[order];
    const bool is_write = operation.kind == StorageOperation::write;
    const std::uint64_t begin = operation.offset_bytes + operation.done_bytes;
    std::uint64_t end = operation.offset_bytes + operation.length_bytes;
    const bool is_resize = operation.kind == StorageOperation::resize;
    if (is_resize || (end > running.size() && !is_write && operation.kind != StorageOperation::punch)) {
      if (crash_plan.resizes.size() < overlay_limit) crash_plan.resizes.push_back({order, end, is_resize});
    }
    if (is_resize || operation.kind == StorageOperation::allocate) continue;
    const std::byte* content = nullptr;
    if (is_write) {
      auto& bytes = crash_plan.contents.emplace_back();
      for (ConstBytes part : operation.parts) bytes.insert(bytes.end(), part.begin(), part.end());
      content = bytes.data();
    } else {
      end = std::min<std::uint64_t>(end, running.size());
    }
    for (std::uint64_t at = begin; at < end;) {
      const std::uint64_t sector = at / size;
      const std::uint64_t next = std::min(end, (sector + 1) * size);
      if (by_sector.size() <= sector) by_sector.resize(as_size(sector) + 1);
      const CrashOverlay overlay{order, static_cast<std::uint32_t>(at % size),
                                 static_cast<std::uint32_t>(next - sector * size),
                                 content ? content + (at - operation.offset_bytes) : nullptr, is_write};
      if (by_sector[as_size(sector)].size() < overlay_limit) by_sector[as_size(sector)].push_back(overlay);
      at = next;
    }
  }
}

CrashEpoch SimulatedDisk::State::plan_epoch(std::size_t kept_resizes,
                                            const std::vector<std::vector<CrashOverlay>>& by_sector) const {
  CrashEpoch epoch;
  epoch.size_bytes = kept_resizes == 0 ? durable.size() : size_changes[kept_resizes - 1].size_bytes;
  const std::uint64_t last_kept = kept_resizes == 0 ? 0 : size_changes[kept_resizes - 1].number;
  std::size_t next_overlay = 0;
  for (std::size_t sector = 0; sector < std::max(versions.size(), by_sector.size()); ++sector) {
    SectorChoice choice{.sector = sector, .durable = true, .versions = {}, .first_overlay = next_overlay};
    choice.overlay_count = sector < by_sector.size() ? by_sector[sector].size() : 0;
    next_overlay += choice.overlay_count;
    if (sector < versions.size()) {
      const std::span<const SectorVersion> all(versions[sector]);
      std::size_t first = 0;
      std::size_t end = 0;
      for (; end < all.size(); ++end) {
        if (all[end].barrier > last_kept) break;
        if (all[end].barrier != 0) {
          first = end;
          choice.durable = false;
        }
      }
      choice.versions = all.subspan(first, end - first);
    }
    if (choice.version_count() > 1 || !choice.durable || choice.overlay_count > 0) epoch.sectors.push_back(choice);
  }
  return epoch;
}

const CrashPlan& SimulatedDisk::State::plan() const {
  CrashPlan& plan = crash_plan;
  if (plan.valid) return plan;
  plan = {};
  plan.valid = true;
  std::vector<std::vector<CrashOverlay>> by_sector;
  plan_overlays(by_sector);
  for (const auto& overlays : by_sector) plan.overlays.insert(plan.overlays.end(), overlays.begin(), overlays.end());
  for (std::size_t kept = 0; kept <= size_changes.size(); ++kept) plan.epochs.push_back(plan_epoch(kept, by_sector));
  return plan;
}

void SimulatedDisk::State::build_image(const CrashChoice& choice, std::vector<std::byte>& image) const {
  const CrashEpoch& epoch = crash_plan.epochs[choice.epoch];
  const std::uint64_t sector_bytes = options.sector_bytes;
  const auto for_each_overlay = [&](std::size_t i, auto&& function) {
    for (std::size_t bit = 0; bit < epoch.sectors[i].overlay_count; ++bit) {
      if (choice.overlays[i] >> bit & 1) function(crash_plan.overlays[epoch.sectors[i].first_overlay + bit]);
    }
  };
  std::uint64_t size = epoch.size_bytes;
  for (std::size_t i = 0; i < epoch.sectors.size(); ++i) {
    const std::uint64_t begin = epoch.sectors[i].sector * sector_bytes;
    const SectorVersion* version = version_of(epoch.sectors[i], choice.versions[i]);
    if (version && version->written_end > 0) size = std::max(size, begin + version->written_end);
    for_each_overlay(i, [&](const CrashOverlay& overlay) {
      if (overlay.extends) size = std::max(size, begin + overlay.end);
    });
  }
  for (std::size_t i = 0; i < crash_plan.resizes.size(); ++i) {
    if (choice.resizes >> i & 1) size = std::max(size, crash_plan.resizes[i].size_bytes);
  }
  image.assign(durable.begin(), durable.end());
  image.resize(as_size(size));
  const auto put = [&](std::uint64_t begin, const std::byte* bytes, std::uint64_t length) {
    if (begin >= size) return;
    const std::size_t count = as_size(std::min(length, size - begin));
    if (bytes)
      std::memcpy(image.data() + begin, bytes, count);
    else
      std::memset(image.data() + begin, 0, count);
  };
  for (std::size_t i = 0; i < epoch.sectors.size(); ++i) {
    const std::uint64_t begin = epoch.sectors[i].sector * sector_bytes;
    if (const SectorVersion* version = version_of(epoch.sectors[i], choice.versions[i])) {
      put(begin, version->bytes.get(), sector_bytes);
    }
    for_each_overlay(i, [&](const CrashOverlay& overlay) {
      put(begin + overlay.begin, overlay.bytes, overlay.end - overlay.begin);
    });
  }
  for (std::size_t i = 0; i < crash_plan.resizes.size(); ++i) {
    if ((choice.resizes >> i & 1) && crash_plan.resizes[i].exact)
      image.resize(as_size(crash_plan.resizes[i].size_bytes));
  }
}

void SimulatedDisk::crash_image(SimulatedRandom& random, CrashMode mode, std::vector<std::byte>& image) const {
  const State& state = *state_;
  const CrashPlan& plan = state.plan();
  CrashChoice& choice = state.scratch;
  if (mode == CrashMode::everything) {
    choose_everything(plan, choice);
  } else if (mode == CrashMode::random_subset) {
    choose_random(plan, choice, random);
  } else if (mode == CrashMode::nothing) {
    begin_choice(choice, plan, 0);
  } else {
    const std::uint64_t changes = state.sequence - state.flushed_sequence + state.in_flight.size();
    const std::uint64_t last = state.flushed_sequence + random.below(changes + 1);
    const auto after = std::ranges::upper_bound(state.size_changes, last, {}, &SizeChange::sequence);
    begin_choice(choice, plan, static_cast<std::size_t>(after - state.size_changes.begin()));
    const auto& sectors = plan.epochs[choice.epoch].sectors;
    const std::size_t torn = sectors.empty() ? 0 : sectors[as_size(random.below(sectors.size()))].sector;
    choose_prefix(plan, choice, last, state.sequence, torn);
  }
  state.build_image(choice, image);
}

std::vector<std::byte> SimulatedDisk::crash_image(SimulatedRandom& random, CrashMode mode) const {
  std::vector<std::byte> image;
  crash_image(random, mode, image);
  return image;
}

std::uint64_t SimulatedDisk::crash_state_count(std::uint64_t limit) const {
  const CrashPlan& plan = state_->plan();
  std::uint64_t count = 0;
  for (const CrashEpoch& epoch : plan.epochs) {
    const std::uint64_t more = saturating_product(choices_of(epoch, limit), all_ones(plan.resizes.size()) + 1, limit);
    count = std::min(limit, checked_add(count, more).value_or(limit));
  }
  return count;
}

// A mixed-radix number: resizes in flight, epoch, then one digit per sector (version and overlays).
void SimulatedDisk::crash_image(std::uint64_t index, std::vector<std::byte>& image) const {
  constexpr std::uint64_t no_limit = ~std::uint64_t{0};
  const CrashPlan& plan = state_->plan();
  CrashChoice& choice = state_->scratch;
  const std::uint64_t resizes = index & all_ones(plan.resizes.size());
  index >>= plan.resizes.size();
  std::size_t epoch = 0;
  for (; epoch + 1 < plan.epochs.size(); ++epoch) {
    const std::uint64_t count = choices_of(plan.epochs[epoch], no_limit);
    if (index < count) break;
    index -= count;
  }
  begin_choice(choice, plan, epoch);
  choice.resizes = resizes;
  const auto& sectors = plan.epochs[epoch].sectors;
  for (std::size_t i = 0; i < sectors.size(); ++i) {
    const std::uint64_t digit = index % choices_of(sectors[i]);
    index /= choices_of(sectors[i]);
    choice.versions[i] = static_cast<std::uint32_t>(digit % sectors[i].version_count());
    choice.overlays[i] = digit / sectors[i].version_count();
  }
  BYRE_ASSERT(index == 0);
  state_->build_image(choice, image);
}

}  // namespace byre
