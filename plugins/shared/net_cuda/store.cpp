#include "net_cuda/store.h"

#include <cassert>
#include <utility>

#include "net/training.h"

namespace slackline::net::cuda {

DeviceStore::DeviceStore(Executor& executor, Runtime& runtime, cudaStream_t stream)
    : executor_(executor), runtime_(runtime), stream_(stream), loss_scale_(runtime, 1) {
  for (StoredTensor& stored : stored_tensors(executor.program())) {
    tensors_.push_back(std::move(stored.info));
    ids_.push_back(stored.id);
  }
  tensors_.push_back({.name = "loss_scale", .shape = {3}, .role = TensorRole::kSlot});
  ids_.push_back(kNone);
}

std::span<float> DeviceStore::array(std::size_t index) {
  switch (tensors_[index].role) {
    case TensorRole::kParameter:
      return executor_.values();
    case TensorRole::kStatistic:
      return executor_.statistics();
    case TensorRole::kSlot:
      return executor_.velocities();
    case TensorRole::kGradient:
      return executor_.gradients();
  }
  return {};
}

void DeviceStore::read_loss_scale() {
  runtime_.copy(loss_scale_.data(), executor_.loss_scale(), loss_scale_.bytes(), stream_);
  runtime_.synchronize(stream_);
}

void DeviceStore::read(std::size_t index, std::span<float> values) {
  if (ids_[index] != kNone) return executor_.read(array(index), ids_[index], values);
  read_loss_scale();
  const LossScale& state = *loss_scale_.data();
  values[0] = state.scale;
  values[1] = static_cast<float>(state.good_steps);
  values[2] = static_cast<float>(state.skipped_steps);
}

void DeviceStore::write(std::size_t index, std::span<const float> values) {
  assert(tensors_[index].role != TensorRole::kGradient);
  if (ids_[index] != kNone) {
    return executor_.write(array(index), ids_[index], values);
  }
  read_loss_scale();
  LossScale& state = *loss_scale_.data();
  state.scale = values[0];
  state.good_steps = static_cast<std::int32_t>(values[1]);
  state.skipped_steps = static_cast<std::int64_t>(values[2]);
  runtime_.copy(executor_.loss_scale(), loss_scale_.data(), loss_scale_.bytes(), stream_);
  runtime_.synchronize(stream_);
}

}  // namespace slackline::net::cuda
