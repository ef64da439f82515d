#include "replay.h"

#include <slackline/error.h>

#include <algorithm>

namespace slackline {

void ReplayedRecords::start_epoch(const EpochPlan& plan) {
  next_ = 0;
  if (!kept_.empty()) return;
  source_.start_epoch(plan);
  for (Record record; kept_.size() < most_ && source_.next(record);) {
    Kept& kept = kept_.emplace_back();
    kept.bytes.assign(record.bytes.begin(), record.bytes.end());
    kept.file = record.file;
    kept.record = record;
    source_.give_back(record);
  }
  if (kept_.empty()) throw DataError("[input] replay: the source gave no record to keep");
  for (Kept& kept : kept_) {  // only now do the addresses stay
    kept.record.bytes = kept.bytes;
    kept.record.file = kept.file;
    kept.record.lease = nullptr;
  }
}

bool ReplayedRecords::next(Record& record) {
  record = kept_[next_].record;
  next_ = (next_ + 1) % kept_.size();
  return true;
}

ReplayedBatches::~ReplayedBatches() {
  for (const Batch* batch : kept_) upstream_.give_back(batch);
}

const Batch* ReplayedBatches::next() {
  if (!is_complete_) keep();
  const std::lock_guard lock(mutex_);
  if (cancelled_ || kept_.empty()) return nullptr;
  const auto unused =
      std::find_if(loans_.begin(), loans_.end(), [](const Loan& loan) { return !loan.is_lent; });
  Loan& loan = unused != loans_.end() ? *unused : loans_.emplace_back();
  loan.view = *kept_[lent_ % kept_.size()];
  loan.view.index = lent_++;
  loan.is_lent = true;
  return &loan.view;
}

void ReplayedBatches::keep() {
  while (kept_.size() < most_) {
    const Batch* const batch = upstream_.next();
    if (batch == nullptr) break;
    if (batch->is_rest || batch->size == 0) {
      upstream_.give_back(batch);
      break;
    }
    kept_.push_back(batch);
  }
  while (kept_.size() % per_step_ != 0) {
    upstream_.give_back(kept_.back());
    kept_.pop_back();
  }
  is_complete_ = true;
  upstream_.cancel();  // it may rest now
}

void ReplayedBatches::give_back(const Batch* batch) noexcept {
  const std::lock_guard lock(mutex_);
  for (Loan& loan : loans_) {
    if (&loan.view == batch) loan.is_lent = false;
  }
}

void ReplayedBatches::cancel() noexcept {
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
  }
  upstream_.cancel();
}

}  // namespace slackline
