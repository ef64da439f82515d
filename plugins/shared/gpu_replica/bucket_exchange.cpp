#include "gpu_replica/bucket_exchange.h"

#include <algorithm>
#include <array>
#include <cassert>

namespace slackline::gpu {
namespace {

/// Ahead of the backward pass: what a bucket waits for is done, and others wait for it.
constexpr int kPriority = -1;

/// Values that parts are whole multiples of, so that each begins with a line of 256 bytes.
constexpr std::size_t kLine = 64;

}  // namespace

BucketExchange::BucketExchange(cuda::Runtime& runtime, cudaStream_t compute, Collective& collective,
                               std::size_t values, const ExchangePlan& plan)
    : runtime_(runtime),
      compute_(compute),
      collective_(collective),
      values_(values),
      plan_(plan),
      stream_(cuda::make_stream(runtime, kPriority)),
      final_(cuda::make_event(runtime)),
      summed_(cuda::make_event(runtime)) {
  assert(plan.buckets >= 1 && plan.num_packs >= 1);
  start_step();
}

void BucketExchange::start_step() {
  values_left_ = values_;
  buckets_left_ = static_cast<std::size_t>(plan_.buckets);
}

void BucketExchange::begin(std::span<float> gradients) {
  if (!bucket_.empty() && !is_neighbour(gradients)) send();
  add(gradients);
  if (bucket_.size() * buckets_left_ >= values_left_) send();
}

bool BucketExchange::is_neighbour(std::span<float> gradients) const {
  return gradients.data() + gradients.size() == bucket_.data() ||
         bucket_.data() + bucket_.size() == gradients.data();
}

void BucketExchange::add(std::span<float> gradients) {
  float* const begin =
      bucket_.empty() ? gradients.data() : std::min(bucket_.data(), gradients.data());
  bucket_ = {begin, bucket_.size() + gradients.size()};
}

void BucketExchange::send() {
  runtime_.record(final_.get(), compute_);
  runtime_.wait(stream_.get(), final_.get());
  const std::size_t packs = static_cast<std::size_t>(plan_.num_packs);
  const std::size_t pack_size = bucket_.size() / packs / kLine * kLine;
  for (std::size_t i = 0; i < packs; ++i) {
    const bool is_last = i + 1 == packs;
    const std::span<float> pack =
        is_last ? bucket_.subspan(i * pack_size) : bucket_.subspan(i * pack_size, pack_size);
    if (pack.empty()) continue;
    const std::array range{cuda::MemoryRange{pack.data(), pack.size_bytes()}};
    runtime_.enqueue({"all-reduce", range, range}, stream_.get(),
                     [&collective = collective_, pack](cudaStream_t stream) {
                       collective.all_reduce_sum(pack, stream);
                     });
  }
  values_left_ -= bucket_.size();
  if (buckets_left_ > 1) --buckets_left_;
  bucket_ = {};
}

void BucketExchange::finish() {
  assert(values_left_ == 0 && bucket_.empty());
  runtime_.record(summed_.get(), stream_.get());
  runtime_.wait(compute_, summed_.get());
  start_step();
}

}  // namespace slackline::gpu
