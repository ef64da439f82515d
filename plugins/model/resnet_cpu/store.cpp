#include "store.h"

#include <cassert>
#include <utility>

#include "net/training.h"

namespace slackline {

ExecutorStore::ExecutorStore(net::cpu::Executor& executor, std::span<float> velocities)
    : executor_(executor), velocities_(velocities) {
  for (net::StoredTensor& stored : net::stored_tensors(executor.program())) {
    tensors_.push_back(std::move(stored.info));
    ids_.push_back(stored.id);
  }
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
