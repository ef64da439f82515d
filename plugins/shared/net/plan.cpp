#include "net/plan.h"

#include <algorithm>
#include <cassert>
#include <numeric>

namespace slackline::net {
namespace {

std::size_t rounded(std::size_t bytes) {
  return (bytes + ArenaPlan::kAlignment - 1) / ArenaPlan::kAlignment * ArenaPlan::kAlignment;
}

bool is_persistent(TensorKind kind) {
  return kind == TensorKind::kParameter || kind == TensorKind::kGradient ||
         kind == TensorKind::kStatistic;
}

}  // namespace

std::vector<Lifetime> lifetimes_of(const Program& program) {
  std::vector<Lifetime> lifetimes(program.tensors.size());
  for (std::size_t i = 0; i < program.ops.size(); ++i) {
    const Accesses accesses = accesses_of(program.ops[i]);
    for (const auto* ids : {&accesses.reads, &accesses.writes}) {
      for (const TensorId id : *ids) {
        if (is_persistent(program.tensor(id).kind)) continue;
        Lifetime& lifetime = lifetimes[static_cast<std::size_t>(id)];
        if (!lifetime.is_used) lifetime = {.first = i, .last = i, .is_used = true};
        lifetime.last = i;
      }
    }
  }
  return lifetimes;
}

ArenaPlan plan_arena(std::span<const Lifetime> lifetimes, std::span<const std::size_t> bytes) {
  assert(lifetimes.size() == bytes.size());
  std::vector<std::size_t> order(bytes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater<>(), [&](std::size_t i) { return bytes[i]; });

  ArenaPlan plan;
  plan.offsets.resize(bytes.size());
  std::vector<std::size_t> placed;
  std::vector<std::size_t> in_the_way;
  for (const std::size_t id : order) {
    if (bytes[id] == 0 || !lifetimes[id].is_used) continue;
    in_the_way.clear();
    for (const std::size_t other : placed) {
      if (lifetimes[id].overlaps(lifetimes[other])) in_the_way.push_back(other);
    }
    std::ranges::sort(in_the_way, {}, [&](std::size_t i) { return plan.offsets[i]; });
    const std::size_t size = rounded(bytes[id]);
    std::size_t offset = 0;
    for (const std::size_t other : in_the_way) {
      if (offset + size <= plan.offsets[other]) break;
      offset = std::max(offset, plan.offsets[other] + rounded(bytes[other]));
    }
    plan.offsets[id] = offset;
    plan.bytes = std::max(plan.bytes, offset + size);
    placed.push_back(id);
  }
  return plan;
}

std::size_t least_bytes(std::span<const Lifetime> lifetimes, std::span<const std::size_t> bytes) {
  std::size_t ops = 0;
  for (const Lifetime& lifetime : lifetimes) ops = std::max(ops, lifetime.last + 1);
  std::size_t most = 0;
  for (std::size_t op = 0; op < ops; ++op) {
    std::size_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (lifetimes[i].overlaps({.first = op, .last = op, .is_used = true})) {
        sum += rounded(bytes[i]);
      }
    }
    most = std::max(most, sum);
  }
  return most;
}

}  // namespace slackline::net
