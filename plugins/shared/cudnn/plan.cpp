#include "cudnn/plan.h"

#include <slackline/error.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "descriptor.h"
#include "engine.h"

namespace slackline::cudnn {

struct Plan::Parts {
  Graph graph;
  EngineConfig config;
  Descriptor plan;
  std::size_t workspace_bytes;
};

struct BoundPlan::Parts {
  Plan plan;
  cudnnHandle_t handle;  ///< or null
  Descriptor tensors{CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR};
};

std::string text_of(const EngineChoice& choice) {
  std::string out = text("engine ", choice.engine, " (");
  const char* separator = "";
  for (const EngineChoice::Knob& knob : choice.knobs) {
    out += text(std::exchange(separator, " "), knob.type, "=", knob.value);
  }
  return out + ")";
}

std::optional<Plan> try_plan(const Graph& graph, const Target& target, EngineConfig config,
                             std::string& refusal) {
  Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config.descriptor.get());
  if (target.handle() != nullptr) plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, target.handle());
  if (const cudnnStatus_t status = plan.try_finalise(); status != CUDNN_STATUS_SUCCESS) {
    refusal = words_of(status);
    return std::nullopt;
  }
  const auto bytes = plan.get_one<std::int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
  return Plan(std::make_shared<const Plan::Parts>(
      Plan::Parts{graph, std::move(config), std::move(plan), static_cast<std::size_t>(bytes)}));
}

std::optional<Plan> Plan::make(const Graph& graph, const Target& target, const EngineChoice& choice,
                               std::string& refusal) {
  try {
    return try_plan(graph, target, configure(graph, target, choice), refusal);
  } catch (const DeviceError& error) {
    refusal = error.what();
    return std::nullopt;
  }
}

const EngineChoice& Plan::choice() const { return parts_->config.choice; }
const EngineNotes& Plan::notes() const { return parts_->config.notes; }
std::size_t Plan::workspace_bytes() const { return parts_->workspace_bytes; }

BoundPlan Plan::bind(const Target& target, std::span<const Binding> bindings,
                     void* workspace) const {
  const Graph& graph = parts_->graph;
  const auto refuse = [&](const auto&... what) {
    throw DeviceError(text(graph.signature(), ": ", what...));
  };
  std::vector<Uid> uids;
  std::vector<void*> memory;
  for (const Binding& each : bindings) {
    if (std::ranges::count(graph.uids(), each.uid) == 0) refuse("has no tensor ", each.uid);
    if (std::ranges::count(uids, each.uid) != 0) refuse("tensor ", each.uid, " is bound twice");
    if (reinterpret_cast<std::uintptr_t>(each.memory) % 16 != 0) {
      refuse("tensor ", each.uid, " is not 16-byte aligned");
    }
    if (each.memory == nullptr) refuse("tensor ", each.uid, " has no memory");
    uids.push_back(each.uid);
    memory.push_back(each.memory);
  }
  for (const Uid uid : graph.uids()) {
    if (std::ranges::count(uids, uid) == 0) refuse("tensor ", uid, " is not bound");
  }
  if (workspace == nullptr && workspace_bytes() > 0) {
    refuse("no workspace, but ", text_of(choice()), " needs ", workspace_bytes(), " bytes");
  }
  for (const Graph::Scalar& each : graph.scalars()) {
    uids.push_back(each.uid);
    memory.push_back(const_cast<void*>(each.value));
  }

  auto parts = std::make_shared<BoundPlan::Parts>(
      BoundPlan::Parts{.plan = *this, .handle = target.handle()});
  parts->tensors.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::span<const Uid>(uids))
      .set_pointers(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, memory)
      .set_pointers(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, std::span(&workspace, 1));
  parts->tensors.finalise(text("bind the tensors of ", graph.signature()));
  return BoundPlan(std::move(parts));
}

void BoundPlan::run(cudaStream_t stream) const {
  const Plan::Parts& plan = *parts_->plan.parts_;
  if (parts_->handle == nullptr) {
    throw DeviceError(text(plan.graph.signature(), ": made for a device that is not there"));
  }
  const auto enqueued = [&](cudnnStatus_t status) {
    if (status == CUDNN_STATUS_SUCCESS) return;
    check(status, text("run ", plan.graph.signature(), " with ", text_of(plan.config.choice)));
  };
  enqueued(cudnnSetStream(parts_->handle, stream));
  enqueued(cudnnBackendExecute(parts_->handle, plan.plan.get(), parts_->tensors.get()));
}

}  // namespace slackline::cudnn
