#include "cudnn/choose.h"

#include <slackline/error.h>

#include <algorithm>
#include <utility>

#include "engine.h"

namespace slackline::cudnn {
namespace {

/// What notes alone tell: such an engine need not be tried.
std::string why_excluded(const Policy& policy, const Graph& graph, const EngineNotes& notes) {
  if (notes.narrows_inputs) return "converts its inputs to a narrower type";
  if (notes.sums_in_low_precision) return "does not sum in float32";
  if (policy.deterministic && notes.is_nondeterministic) return "is not deterministic";
  if (!policy.runtime_compiled && notes.is_runtime_compiled) return "is compiled at run time";
  if (!policy.tf32 && graph.has_float32_conv() && notes.uses_tensor_cores) {
    return "computes float32 as TF32";
  }
  return "";
}

}  // namespace

std::string text_of(const Policy& policy) {
  return text("workspace<=", policy.max_workspace_bytes,
              policy.deterministic ? " deterministic" : "", policy.tf32 ? "" : " no_tf32",
              policy.runtime_compiled ? "" : " precompiled");
}

std::string why_excluded(const Policy& policy, const Graph& graph, const Plan& plan) {
  if (plan.workspace_bytes() > policy.max_workspace_bytes) {
    return text("needs ", plan.workspace_bytes(), " bytes of workspace, more than ",
                policy.max_workspace_bytes);
  }
  return why_excluded(policy, graph, plan.notes());
}

Candidates candidates(const Graph& graph, const Target& target, const Policy& policy,
                      std::size_t limit) {
  Candidates out;
  const auto is_known = [&](const EngineChoice& choice) {
    return std::ranges::find(out.plans, choice, &Plan::choice) != out.plans.end() ||
           std::ranges::find(out.refused, choice, &Refusal::choice) != out.refused.end();
  };
  const auto consider = [&](EngineConfig config) {
    if (is_known(config.choice)) return;
    EngineChoice choice = config.choice;
    std::string why = why_excluded(policy, graph, config.notes);
    std::optional<Plan> plan;
    if (why.empty()) plan = try_plan(graph, target, std::move(config), why);
    if (plan) why = why_excluded(policy, graph, *plan);
    if (plan && why.empty()) {
      out.plans.push_back(*std::move(plan));
    } else {
      out.refused.push_back({std::move(choice), std::move(why)});
    }
  };

  for (const auto mode : {CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (Descriptor& suggestion : suggest(graph, target, mode, out.words)) {
      if (out.plans.size() >= limit) return out;
      consider(described(std::move(suggestion)));
    }
  }
  return out;
}

Choice choose(const Graph& graph, const Target& target, const Policy& policy) {
  Candidates found = candidates(graph, target, policy, 1);
  if (!found.plans.empty()) return {std::move(found.plans.front()), std::move(found.refused)};
  std::string why = "cuDNN suggests none";
  if (!found.words.empty()) why += text(" (", found.words, ")");
  if (!found.refused.empty()) {
    const Refusal& last = found.refused.back();
    why = text("the last of ", found.refused.size(), ", ", text_of(last.choice), ", ", last.why);
  }
  throw DeviceError(text("no engine for ", graph.signature(), " on ", target.name(), " (",
                         text_of(policy), "): ", why));
}

}  // namespace slackline::cudnn
