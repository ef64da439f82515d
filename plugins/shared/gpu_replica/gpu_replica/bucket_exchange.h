#pragma once

#include <slackline/collective.h>
#include <slackline/model.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "cuda/handles.h"

namespace slackline::gpu {

/// How gradients are put together and cut for the exchange.
struct ExchangePlan {
  /// At most so many are on their way one after another while the backward pass goes on. 1: all at
  /// once, behind it.
  std::int32_t buckets = 3;
  /// Parts that a bucket is summed in, one call for each: upstream's num_packs, if there is one
  /// bucket.
  std::int32_t num_packs = 1;
};

/// Sums gradients through a Collective, on a stream of its own beside the device's.
///
/// What becomes final is put into a bucket until that has its share: the values that are left over
/// the buckets that are left. So the first one, on which most of the backward pass is still to
/// come, takes at least an equal part, and what comes last is small. A bucket is contiguous: spans
/// that are no neighbours do not share one, whatever their number.
///
/// A bucket's parts are equally long, in whole lines of 64 values; the last one takes the
/// remainder.
///
/// Fork and join are events, so that a capture takes in the stream, too.
class BucketExchange final : public GradientExchange {
 public:
  /// `values` are in Model::gradients(), whose device has `compute` for its stream. All must
  /// outlive this.
  BucketExchange(cuda::Runtime& runtime, cudaStream_t compute, Collective& collective,
                 std::size_t values, const ExchangePlan& plan);

  void begin(std::span<float> gradients) override;
  void finish() override;

 private:
  [[nodiscard]] bool is_neighbour(std::span<float> gradients) const;
  void add(std::span<float> gradients);
  void send();
  void start_step();

  cuda::Runtime& runtime_;
  const cudaStream_t compute_;
  Collective& collective_;
  const std::size_t values_;
  const ExchangePlan plan_;
  const cuda::Stream stream_;
  const cuda::Event final_;   ///< a bucket's values
  const cuda::Event summed_;  ///< all buckets

  std::span<float> bucket_;
  std::size_t values_left_ = 0, buckets_left_ = 0;  ///< in this step, with those of bucket_
};

}  // namespace slackline::gpu
