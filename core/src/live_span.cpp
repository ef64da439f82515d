#include <slackline/live_span.h>

#include <atomic>

namespace slackline {
namespace {

std::atomic<SpanObserver*> observer_of_all{nullptr};

}  // namespace

SpanObserver::~SpanObserver() = default;

void observe_spans(SpanObserver* observer) noexcept { observer_of_all = observer; }

LiveSpan::LiveSpan(const char* name) noexcept
    : observer_(observer_of_all.load(std::memory_order_acquire)) {
  if (observer_ != nullptr) observer_->begin(name);
}

LiveSpan::~LiveSpan() {
  if (observer_ != nullptr) observer_->end();
}

}  // namespace slackline
