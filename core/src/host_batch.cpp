#include "host_batch.h"

#include <slackline/error.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include <sys/mman.h>

namespace slackline {

namespace {

/// Whole huge pages, where the kernel has them to give: a batch is written once and read once, so
/// its cost is that of its pages.
std::uint8_t* allocate(std::size_t bytes) {
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  const std::size_t alignment = bytes < kHugePage ? 4096 : kHugePage;
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* const memory = std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) throw std::bad_alloc();
  if (alignment == kHugePage) ::madvise(memory, rounded, MADV_HUGEPAGE);  // only advice
  return static_cast<std::uint8_t*>(memory);
}

}  // namespace

HostBatch::HostBatch(const ImageShape& shape, std::int32_t capacity)
    : shape_(shape),
      image_bytes_(shape.size()),
      pixels_(allocate(image_bytes_ * static_cast<std::size_t>(capacity))),
      labels_(static_cast<std::size_t>(capacity)),
      items_(static_cast<std::size_t>(capacity)) {}

void HostBatch::open(std::uint32_t epoch, std::uint64_t index) {
  filled = 0;
  complete = discard = lent = false;
  holders_.store(1, std::memory_order_relaxed);  // the reader's own, until the batch is full
  bad_.clear();
  error_ = nullptr;
  view_ = {};
  view_.shape = shape_;
  view_.epoch = epoch;
  view_.index = index;
}

SampleSlot HostBatch::slot(std::int32_t i) noexcept {
  return {.pixels = {pixels_.get() + image_bytes_ * static_cast<std::size_t>(i), image_bytes_},
          .shape = shape_,
          .label = -1};
}

void HostBatch::mark_bad(std::int32_t i, BadSample why) {
  const std::lock_guard lock(trouble_mutex_);
  bad_.push_back({i, std::move(why)});
}

void HostBatch::fail(std::int32_t i, std::exception_ptr error) {
  const std::lock_guard lock(trouble_mutex_);
  if (error_ == nullptr || i < error_slot_) {
    error_ = std::move(error);
    error_slot_ = i;
  }
}

void HostBatch::finish(std::int32_t filled_slots, BadSamplePolicy policy) {
  std::sort(bad_.begin(), bad_.end(), [](const Bad& a, const Bad& b) { return a.slot < b.slot; });
  view_.size = filled_slots;
  if (!bad_.empty() && error_ == nullptr) {
    if (policy == BadSamplePolicy::kSkip) skip_bad(filled_slots);
    if (policy == BadSamplePolicy::kSubstitute) substitute_bad(filled_slots);
  }
  const auto size = static_cast<std::size_t>(view_.size);
  view_.images = {pixels_.get(), size * image_bytes_};
  view_.labels = {labels_.data(), size};
  for (std::size_t i = 0; i < size; ++i) {
    view_.digest.order.append(items_[i].order);
    view_.digest.pixels.append(items_[i].pixels);
  }
}

std::vector<BadSample> HostBatch::take_bad_samples() {
  std::vector<BadSample> out;
  for (Bad& bad : bad_) {
    if (error_ == nullptr || bad.slot < error_slot_) out.push_back(std::move(bad.why));
  }
  bad_.clear();
  return out;
}

void HostBatch::skip_bad(std::int32_t filled_slots) {
  std::int32_t kept = 0;
  auto bad = bad_.begin();
  for (std::int32_t i = 0; i < filled_slots; ++i) {
    if (bad != bad_.end() && bad->slot == i) {
      ++bad;
    } else {
      if (kept != i) copy_sample(kept, i);
      ++kept;
    }
  }
  view_.size = kept;
}

/// A bad slot gets the sample of the nearest good one before it in the batch, or else behind it:
/// a choice that depends on the data alone.
void HostBatch::substitute_bad(std::int32_t filled_slots) {
  if (std::cmp_equal(bad_.size(), filled_slots)) {
    error_ = std::make_exception_ptr(
        DataError(text(bad_.front().why.reason,
                       " (and no other sample of its batch is good, so none can take its place)")));
    return;
  }
  std::int32_t last_good = -1;
  auto bad = bad_.begin();
  std::vector<std::int32_t> leading;
  for (std::int32_t i = 0; i < filled_slots; ++i) {
    if (bad == bad_.end() || bad->slot != i) {
      if (last_good < 0) {
        for (const std::int32_t slot : leading) copy_sample(slot, i);
      }
      last_good = i;
      continue;
    }
    ++bad;
    if (last_good >= 0) {
      copy_sample(i, last_good);
    } else {
      leading.push_back(i);
    }
  }
}

void HostBatch::copy_sample(std::int32_t to, std::int32_t from) {
  std::memcpy(pixels_.get() + image_bytes_ * static_cast<std::size_t>(to),
              pixels_.get() + image_bytes_ * static_cast<std::size_t>(from), image_bytes_);
  labels_[static_cast<std::size_t>(to)] = labels_[static_cast<std::size_t>(from)];
  items_[static_cast<std::size_t>(to)] = items_[static_cast<std::size_t>(from)];
}

}  // namespace slackline
