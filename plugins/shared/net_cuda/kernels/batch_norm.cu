#include "bodies/batch_norm.h"
#include "launch.cuh"

namespace slackline::net::cuda {

std::size_t batch_norm_scratch_bytes(std::int64_t channels) {
  return bodies::Scratch::bytes(channels);
}

void batch_norm_training(Precision precision, const BatchNormArgs& args, cudaStream_t stream) {
  with_type_of(precision,
               [&]<class T>(T) { bodies::batch_norm_training<T>(StreamLaunch(stream), args); });
}

void batch_norm_inference(Precision precision, const BatchNormArgs& args, cudaStream_t stream) {
  with_type_of(precision,
               [&]<class T>(T) { bodies::batch_norm_inference<T>(StreamLaunch(stream), args); });
}

}  // namespace slackline::net::cuda
