#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cudnn/plan.h"
#include "descriptor.h"

namespace slackline::cudnn {

/// An engine with its knobs set, for one graph and target. That it exists does not mean that it
/// works: try_plan() tells.
struct EngineConfig {
  Descriptor descriptor;
  EngineChoice choice;
  EngineNotes notes;
};

/// Errors     DeviceError if cuDNN has no such engine for this graph, or it no such knob.
[[nodiscard]] EngineConfig configure(const Graph& graph, const Target& target,
                                     const EngineChoice& choice);

/// cuDNN's suggestions, best first, to be read by described(). There may be none; `words` are then
/// cuDNN's, if it has any.
[[nodiscard]] std::vector<Descriptor> suggest(const Graph& graph, const Target& target,
                                              cudnnBackendHeurMode_t mode, std::string& words);
[[nodiscard]] EngineConfig described(Descriptor suggestion);

[[nodiscard]] std::optional<Plan> try_plan(const Graph& graph, const Target& target,
                                           EngineConfig config, std::string& refusal);

}  // namespace slackline::cudnn
