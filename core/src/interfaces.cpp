// The out-of-line destructors of the interfaces: each has its vtable and type name here in core, so
// that casts and exceptions work across plugins whatever compiler made them.

#include <slackline/batch.h>
#include <slackline/clock.h>
#include <slackline/collective.h>
#include <slackline/host.h>
#include <slackline/model.h>
#include <slackline/prefetcher.h>
#include <slackline/ranks.h>
#include <slackline/source.h>
#include <slackline/strategy.h>
#include <slackline/trace.h>
#include <slackline/transform.h>

#include <algorithm>

namespace slackline {

Source::~Source() = default;
Transform::~Transform() = default;
BatchStream::~BatchStream() = default;
Prefetcher::~Prefetcher() = default;
Model::~Model() = default;
TensorStore::~TensorStore() = default;
ModelFactory::~ModelFactory() = default;
Strategy::~Strategy() = default;
Host::~Host() = default;
Clock::~Clock() = default;
TraceTrack::~TraceTrack() = default;
Collective::~Collective() = default;
GradientExchange::~GradientExchange() = default;
Ranks::~Ranks() = default;

void Model::train(const ReplicaStep& step, StepSums& sums) {
  if (step.batch != nullptr) {
    forward_backward(*step.batch, step.global_batch_size, sums);
  } else {
    std::ranges::fill(gradients(), 0.0f);
    sums = {};
  }
  if (step.exchange != nullptr) {
    step.exchange->begin(gradients());
    step.exchange->finish();
  }
  update(step.rule);
}

RankPlan Strategy::ranks() const { return {}; }
Ranks* Strategy::connect(const std::string& /*configuration*/) { return nullptr; }

TensorStore& no_tensors() {
  class Empty final : public TensorStore {
   public:
    [[nodiscard]] std::span<const TensorInfo> tensors() const override { return {}; }
    void read(std::size_t /*index*/, std::span<float> /*values*/) override {}
    void write(std::size_t /*index*/, std::span<const float> /*values*/) override {}
  };
  static Empty empty;
  return empty;
}

std::string_view name_of(RecordFormat format) noexcept {
  switch (format) {
    case RecordFormat::kTfExample:
      return "tf.Example";
    case RecordFormat::kEncodedImage:
      return "encoded image";
    case RecordFormat::kPixels:
      return "pixels";
  }
  return "unknown";
}

}  // namespace slackline
