#include "schedule.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace slackline::app {

std::vector<int> block_order(int block, int configurations) {
  std::vector<int> order(static_cast<std::size_t>(configurations));
  std::iota(order.begin(), order.end(), 0);
  std::rotate(order.begin(), order.begin() + block % configurations, order.end());
  const std::vector<int> back(order.rbegin(), order.rend());
  order.insert(order.end(), back.begin(), back.end());
  return order;
}

PairedBlock paired(int block, int configurations, std::array<double, 2> a,
                   std::array<double, 2> b) {
  if ((block / configurations) % 2 == 1) std::swap(a[0], a[1]);
  return {a, b};
}

}  // namespace slackline::app
