#include "bodies/dense.h"
#include "bodies/softmax_loss.h"
#include "launch.cuh"

namespace slackline::net::cuda {

void thin_dense(Precision precision, const ThinDenseArgs& args, const void* x, const void* weight,
                const float* bias, void* y, cudaStream_t stream) {
  with_type_of(precision, [&]<class T>(T) {
    bodies::thin_dense(StreamLaunch(stream), args, static_cast<const T*>(x),
                       static_cast<const T*>(weight), bias, static_cast<T*>(y));
  });
}

void thin_dense_backward(Precision precision, const ThinDenseArgs& args, const void* dy,
                         const void* x, const void* weight, void* dx, void* dweight,
                         cudaStream_t stream) {
  with_type_of(precision, [&]<class T>(T) {
    bodies::thin_dense_backward(StreamLaunch(stream), args, static_cast<const T*>(dy),
                                static_cast<const T*>(x), static_cast<const T*>(weight),
                                static_cast<T*>(dx), static_cast<T*>(dweight));
  });
}

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
