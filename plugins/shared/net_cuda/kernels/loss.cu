#include "bodies/dense.h"
#include "bodies/softmax_loss.h"
#include "launch.cuh"

namespace slackline::net::cuda {

void add_bias(Precision precision, void* y, const float* bias, Rows size, cudaStream_t stream) {
  with_type_of(precision,
               [&]<class T>(T) { bodies::add_bias<T>(StreamLaunch(stream), y, bias, size); });
}

void bias_backward(Precision precision, const void* dy, float* dbias, Rows size,
                   cudaStream_t stream) {
  with_type_of(precision, [&]<class T>(T) {
    bodies::bias_backward<T>(StreamLaunch(stream), dy, dbias, size);
  });
}

void softmax_loss(Precision precision, const SoftmaxLossArgs& args, cudaStream_t stream) {
  with_type_of(precision, [&]<class T>(T) { bodies::softmax_loss<T>(StreamLaunch(stream), args); });
}

}  // namespace slackline::net::cuda
