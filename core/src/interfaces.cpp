// The out-of-line destructors of the interfaces: each has its vtable and type name here in core, so
// that casts and exceptions work across plugins whatever compiler made them.

#include <slackline/batch.h>
#include <slackline/clock.h>
#include <slackline/collective.h>
#include <slackline/host.h>
#include <slackline/model.h>
#include <slackline/prefetcher.h>
#include <slackline/source.h>
#include <slackline/strategy.h>
#include <slackline/trace.h>
#include <slackline/transform.h>

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

void Model::train(const Batch& batch, const UpdateRule& rule, StepSums& sums) {
  forward_backward(batch, batch.size, sums);
  update(rule);
}

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
