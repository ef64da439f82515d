#include <slackline/bad_samples.h>
#include <slackline/error.h>

#include <utility>

namespace slackline {

void BadSampleAccount::add(BadSample sample) {
  samples_.push_back(std::move(sample));
  const BadSample& added = samples_.back();
  if (policy_ == BadSamplePolicy::kFail) throw DataError(added.key, added.reason);
  if (limit_ > 0 && std::cmp_greater(samples_.size(), limit_)) {
    throw DataError(added.key, text(added.reason, " (bad sample ", samples_.size(),
                                    ", and [input] max_bad_samples allows ", limit_, ")"));
  }
}

const char* name_of(BadSamplePolicy policy) noexcept {
  switch (policy) {
    case BadSamplePolicy::kFail:
      return "fail";
    case BadSamplePolicy::kSkip:
      return "skip";
    case BadSamplePolicy::kSubstitute:
      return "substitute";
  }
  return "unknown";
}

}  // namespace slackline
