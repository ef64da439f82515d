#include "common_steps.h"

#include <slackline/live_span.h>

#include <algorithm>
#include <span>
#include <utility>

namespace slackline {

/// What a rank could do next. Without padding, as it crosses between processes as it is.
struct CommonSteps::Offer {
  DataPosition end;  ///< behind the step
  std::uint64_t order = 0, pixels = 0, items = 0;
  std::int64_t input_wait_ns = 0;  ///< for what it has
  std::uint32_t epoch = 0;
  std::int32_t samples = 0;
  std::uint32_t has_step = 0;
  std::uint32_t wants_stop = 0;
  std::uint32_t wants_save = 0;
  std::uint32_t unused = 0;
};

CommonSteps::CommonSteps(InputChain& chain, std::int32_t device_count, Ranks* ranks, EndRules rules,
                         std::vector<DataPosition> begins, const Clock& clock)
    : chain_(chain),
      device_count_(device_count),
      ranks_(ranks),
      rules_(rules),
      clock_(clock),
      ends_(std::move(begins)),
      offers_(ends_.size()) {}

CommonSteps::~CommonSteps() { chain_.give_back(held_); }

NextStep CommonSteps::next(StepBatches& step, CommonStep& common, const std::stop_token& stop,
                           bool wants_save) {
  for (;;) {
    const std::chrono::nanoseconds input_wait = fetch();
    Offer mine{.end = {}, .epoch = 0, .samples = 0};
    if (!held_.lent.empty()) {
      const BatchDigest digest = held_.digest();
      mine = {.end = held_.end(),
              .order = digest.order.value(),
              .pixels = digest.pixels.value(),
              .items = digest.order.length(),
              .epoch = held_.first().epoch,
              .samples = held_.samples(),
              .has_step = 1};
    }
    mine.input_wait_ns = input_wait.count();
    mine.wants_stop = stop.stop_requested() ? 1 : 0;
    mine.wants_save = wants_save ? 1 : 0;
    gather(mine);
    longest_input_wait_ += std::chrono::nanoseconds(
        std::ranges::max_element(offers_, {}, &Offer::input_wait_ns)->input_wait_ns);

    if (std::ranges::any_of(offers_, &Offer::wants_stop)) return NextStep::kStopped;
    const bool all_have = std::ranges::all_of(offers_, &Offer::has_step);
    const bool any_has = std::ranges::any_of(offers_, &Offer::has_step);
    if (rules_.drop_remainder ? !all_have : !any_has) {
      leave_out();
      return NextStep::kEnd;
    }
    const std::uint32_t epoch = epoch_of_step();
    const bool all_take_part =
        std::ranges::all_of(offers_, [&](const Offer& offer) { return takes_part(offer, epoch); });
    if (rules_.drop_remainder && !all_take_part) {
      if (!takes_part(mine, epoch)) leave_out();
      continue;
    }
    epoch_ = epoch;
    describe(common);
    if (takes_part(mine, epoch)) {
      step = std::exchange(held_, {});
    } else {
      step.given.assign(static_cast<std::size_t>(device_count_), nullptr);
    }
    return NextStep::kStep;
  }
}

/// Returns how long it waited.
std::chrono::nanoseconds CommonSteps::fetch() {
  if (!held_.lent.empty() || has_ended_) return {};
  const LiveSpan span("input wait");
  const Clock::Time begin = clock_.now();
  has_ended_ = !chain_.next(held_);
  return clock_.now() - begin;
}

void CommonSteps::gather(const Offer& mine) {
  if (ranks_ == nullptr) {
    offers_.front() = mine;
    return;
  }
  static_assert(sizeof(Offer) == sizeof(DataPosition) + 4 * 8 + 6 * 4);
  const LiveSpan span("rank wait");
  const Clock::Time begin = clock_.now();
  ranks_->all_gather(std::as_bytes(std::span(&mine, 1)),
                     std::as_writable_bytes(std::span(offers_)));
  waited_ += clock_.now() - begin;
}

/// With drop_remainder, of the rank that is ahead: to where the others leave out what they have.
/// Without, of the one that is behind, for which the others wait. Never less than the one before.
std::uint32_t CommonSteps::epoch_of_step() const {
  const bool of_the_first = rules_.drop_remainder || rules_.batches_span_epochs;
  std::optional<std::uint32_t> epoch;
  for (const Offer& offer : offers_) {
    if (offer.has_step == 0) continue;
    if (!epoch.has_value()) epoch = offer.epoch;
    epoch = of_the_first ? std::max(*epoch, offer.epoch) : std::min(*epoch, offer.epoch);
  }
  return std::max(epoch_, epoch.value_or(0));
}

bool CommonSteps::takes_part(const Offer& offer, std::uint32_t epoch) const {
  return offer.has_step != 0 && (rules_.batches_span_epochs || offer.epoch == epoch);
}

void CommonSteps::leave_out() {
  for (const Batch* batch : held_.lent) left_out_ += static_cast<std::uint64_t>(batch->size);
  chain_.give_back(held_);
}

void CommonSteps::describe(CommonStep& common) {
  common.epoch = epoch_;
  common.samples = 0;
  common.digest = {};
  common.save = offers_.front().wants_save != 0;
  for (std::size_t rank = 0; rank < offers_.size(); ++rank) {
    const Offer& offer = offers_[rank];
    if (!takes_part(offer, epoch_)) continue;
    common.samples += offer.samples;
    common.digest.append(
        {.order = {offer.order, offer.items}, .pixels = {offer.pixels, offer.items}});
    ends_[rank] = offer.end;
  }
  common.ends = ends_;
}

}  // namespace slackline
