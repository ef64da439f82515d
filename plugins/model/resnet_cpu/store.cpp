#include "store.h"

#include <cassert>

namespace slackline {
namespace {

/// PyTorch has no dimensions for what one value a channel is, and two for a dense kernel.
std::vector<std::int64_t> shape_of(const net::Tensor& tensor) {
  const net::Extents& e = tensor.extents;
  if (!tensor.is_kernel) return {e[0]};
  if (tensor.name.starts_with("fc.")) return {e[0], e[1]};
  return {e.begin(), e.end()};
}

}  // namespace

ExecutorStore::ExecutorStore(net::cpu::Executor& executor, std::span<float> velocities)
    : executor_(executor), velocities_(velocities) {
  const net::Program& program = executor.program();
  const auto parameters = program.all(net::TensorKind::kParameter);
  for (const net::TensorId id : parameters) add(id, TensorRole::kParameter, "");
  for (const net::TensorId id : program.all(net::TensorKind::kStatistic)) {
    add(id, TensorRole::kStatistic, "");
  }
  for (const net::TensorId id : parameters) add(id, TensorRole::kSlot, "momentum.");
  for (const net::TensorId id : parameters) add(id, TensorRole::kGradient, "gradient.");
}

void ExecutorStore::add(net::TensorId id, TensorRole role, const std::string& prefix) {
  const net::Tensor& tensor = executor_.program().tensor(id);
  tensors_.push_back({.name = prefix + tensor.name, .shape = shape_of(tensor), .role = role});
  ids_.push_back(id);
}

std::span<float> ExecutorStore::array(std::size_t index) {
  switch (tensors_[index].role) {
    case TensorRole::kParameter:
      return executor_.parameters();
    case TensorRole::kStatistic:
      return executor_.statistics();
    case TensorRole::kSlot:
      return velocities_;
    case TensorRole::kGradient:
      return executor_.gradients();
  }
  return {};
}

void ExecutorStore::read(std::size_t index, std::span<float> values) {
  executor_.read(array(index), ids_[index], values);
}

void ExecutorStore::write(std::size_t index, std::span<const float> values) {
  assert(tensors_[index].role != TensorRole::kGradient);
  executor_.write(array(index), ids_[index], values);
}

}  // namespace slackline
