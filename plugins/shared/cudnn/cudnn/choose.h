#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "cudnn/plan.h"

namespace slackline::cudnn {

/// Which engines may be used. Those that convert their inputs to a narrower type or do not sum in
/// float32 never are.
struct Policy {
  /// Of one plan. In float32 without TF32 cuDNN 9.19 wants up to 4.8 MB an image for ResNet-50, a
  /// twentieth of its activations; what has less than it wants falls to engine 0. This is enough
  /// for 850 images a GPU.
  std::size_t max_workspace_bytes = std::size_t{4} << 30;
  bool deterministic = false;    ///< equal inputs give equal bits
  bool tf32 = true;              ///< float32 convolutions may round their inputs to TF32
  bool runtime_compiled = true;  ///< takes seconds an engine, and a driver

  bool operator==(const Policy&) const = default;
};
/// "workspace<=4294967296 deterministic no_tf32 precompiled", for caches and messages.
[[nodiscard]] std::string text_of(const Policy& policy);

/// Why a policy excludes the plan, or nothing.
[[nodiscard]] std::string why_excluded(const Policy& policy, const Graph& graph, const Plan& plan);

/// An engine that was not taken, and why: the policy's or cuDNN's words.
struct Refusal {
  EngineChoice choice;
  std::string why;
};

struct Candidates {
  std::vector<Plan> plans;  ///< all of them finalised; cuDNN's favourite first
  std::vector<Refusal> refused;
  std::string words;  ///< cuDNN's, where it had no suggestions
};

/// The first `limit` plans, in the order of cuDNN's heuristics: mode B, A, then the fallbacks. That
/// an engine is suggested does not mean that cuDNN can make a plan of it; here it has. No plan at
/// all is an answer, too.
[[nodiscard]] Candidates candidates(const Graph& graph, const Target& target, const Policy& policy,
                                    std::size_t limit);

struct Choice {
  Plan plan;
  std::vector<Refusal> refused;  ///< that cuDNN would have preferred
};

/// The first of the candidates.
/// Errors     DeviceError if there is none, with the signature, how many there were, and why the
///            last one was refused.
[[nodiscard]] Choice choose(const Graph& graph, const Target& target, const Policy& policy);

}  // namespace slackline::cudnn
