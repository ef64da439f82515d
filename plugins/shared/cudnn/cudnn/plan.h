#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <cudnn_graph.h>

#include "cudnn/graph.h"
#include "cudnn/target.h"

namespace slackline::cudnn {

/// An engine of cuDNN and how its knobs are set: with graph and target, all that makes a plan.
struct EngineChoice {
  struct Knob {
    std::int64_t type = 0, value = 0;  ///< cudnnBackendKnobType_t, and what the engine means by it
    bool operator==(const Knob&) const = default;
  };
  std::int64_t engine = 0;
  std::vector<Knob> knobs{};

  bool operator==(const EngineChoice&) const = default;
};
/// "engine 62 (2=3 14=2)".
[[nodiscard]] std::string text_of(const EngineChoice& choice);

/// What cuDNN says about an engine.
struct EngineNotes {
  bool is_runtime_compiled = false;
  bool is_nondeterministic = false;
  bool uses_tensor_cores = false;
  bool narrows_inputs = false;  ///< to a type of fewer bits than the tensors'
  bool sums_in_low_precision = false;
};

/// Where a tensor of a graph lies.
struct Binding {
  Uid uid;
  void* memory;  ///< on the device, 16-byte aligned
};

/// A plan and its tensors' memory.
///
/// Lifecycle  the memory and the target outlive it.
/// Threads    those of one target: one at a time.
class BoundPlan {
 public:
  /// Returns once enqueued. Can be captured, if the engine can.
  /// Errors     DeviceError; also if the target is no device.
  void run(cudaStream_t stream) const;

 private:
  friend class Plan;
  struct Parts;
  explicit BoundPlan(std::shared_ptr<const Parts> parts) : parts_(std::move(parts)) {}
  std::shared_ptr<const Parts> parts_;
};

/// A graph made ready for a target by one engine. A value: copies share what is in it.
class Plan {
 public:
  /// The plan of this choice, if cuDNN makes one; else `refusal` is its reason.
  [[nodiscard]] static std::optional<Plan> make(const Graph& graph, const Target& target,
                                                const EngineChoice& choice, std::string& refusal);

  [[nodiscard]] const EngineChoice& choice() const;
  [[nodiscard]] const EngineNotes& notes() const;
  [[nodiscard]] std::size_t workspace_bytes() const;

  /// `bindings` are all of the graph's tensors, each once. `workspace` is 16-byte aligned, has
  /// workspace_bytes(), and may be null if they are 0.
  /// Errors     DeviceError with what is missing.
  [[nodiscard]] BoundPlan bind(const Target& target, std::span<const Binding> bindings,
                               void* workspace) const;

  struct Parts;
  explicit Plan(std::shared_ptr<const Parts> parts) : parts_(std::move(parts)) {}

 private:
  friend class BoundPlan;
  std::shared_ptr<const Parts> parts_;
};

}  // namespace slackline::cudnn
