#include "engine.h"

#include <slackline/error.h>

#include <algorithm>
#include <utility>

namespace slackline::cudnn {
namespace {

EngineNotes notes_of(const Descriptor& engine) {
  EngineNotes notes;
  for (const auto note :
       engine.get_all<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE)) {
    notes.is_nondeterministic |= note == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
    notes.uses_tensor_cores |= note == CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
    notes.narrows_inputs |= note == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS;
    notes.sums_in_low_precision |= note == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION;
  }
  for (const auto note :
       engine.get_all<cudnnBackendBehaviorNote_t>(CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE)) {
    notes.is_runtime_compiled |= note == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION;
  }
  return notes;
}

}  // namespace

EngineConfig configure(const Graph& graph, const Target& target, const EngineChoice& choice) {
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  engine.set(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph.descriptor())
      .set(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, choice.engine)
      .set(CUDNN_ATTR_ENGINE_DEVICEPROP, target.descriptor());
  engine.finalise(text("use engine ", choice.engine));

  std::vector<Descriptor> knobs;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (const EngineChoice::Knob& each : choice.knobs) {
    Descriptor& knob = knobs.emplace_back(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    knob.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, static_cast<cudnnBackendKnobType_t>(each.type))
        .set(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, each.value);
    knob.finalise(text("set knob ", each.type, " to ", each.value));
    raw.push_back(knob.get());
  }
  Descriptor config(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  config.set(CUDNN_ATTR_ENGINECFG_ENGINE, engine.get());
  if (!raw.empty()) {
    config.set(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, std::span<const cudnnBackendDescriptor_t>(raw));
  }
  config.finalise(text("use ", text_of(choice)));
  return {.descriptor = std::move(config), .choice = choice, .notes = notes_of(engine)};
}

std::vector<Descriptor> suggest(const Graph& graph, const Target& target,
                                cudnnBackendHeurMode_t mode, std::string& words) {
  Descriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.descriptor())
      .set(CUDNN_ATTR_ENGINEHEUR_MODE, mode)
      .set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, target.descriptor());
  if (const cudnnStatus_t status = heuristic.try_finalise(); status != CUDNN_STATUS_SUCCESS) {
    words = words_of(status);
    return {};
  }
  return heuristic.get_descriptors(CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                   CUDNN_BACKEND_ENGINECFG_DESCRIPTOR,
                                   heuristic.count_descriptors(CUDNN_ATTR_ENGINEHEUR_RESULTS));
}

EngineConfig described(Descriptor suggestion) {
  const Descriptor engine =
      suggestion.get_descriptor(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  EngineChoice choice{.engine = engine.get_one<std::int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX)};
  for (const Descriptor& knob :
       suggestion.get_descriptors(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                                  CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, CUDNN_KNOB_TYPE_COUNTS)) {
    choice.knobs.push_back(
        {.type = knob.get_one<cudnnBackendKnobType_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE),
         .value = knob.get_one<std::int64_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE)});
  }
  std::ranges::sort(choice.knobs, {}, &EngineChoice::Knob::type);
  const EngineNotes notes = notes_of(engine);
  return {.descriptor = std::move(suggestion), .choice = std::move(choice), .notes = notes};
}

}  // namespace slackline::cudnn
