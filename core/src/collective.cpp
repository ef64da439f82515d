#include <slackline/collective.h>

#include <slackline/error.h>

#include <cassert>

namespace slackline {

void sum_in_rank_order(std::span<const std::span<float>> values) {
  if (values.empty()) return;
  const std::span<float> total = values.front();
  for (const std::span<float> behind : values.subspan(1)) {
    assert(behind.size() == total.size());
    for (std::size_t i = 0; i < total.size(); ++i) total[i] += behind[i];
  }
  for (const std::span<float> behind : values.subspan(1)) {
    for (std::size_t i = 0; i < total.size(); ++i) behind[i] = total[i];
  }
}

}  // namespace slackline
