#include "bodies/elementwise.h"
#include "launch.cuh"

namespace slackline::net::cuda {

void ingest(Precision precision, const IngestArgs& args, cudaStream_t stream) {
  with_type_of(precision, [&]<class T>(T) { bodies::ingest<T>(StreamLaunch(stream), args); });
}

void relu(Precision precision, const void* x, void* y, std::int64_t values, cudaStream_t stream) {
  with_type_of(precision, [&]<class T>(T) {
    bodies::elementwise<bodies::ReluOf, T>(StreamLaunch(stream), y, values, x);
  });
}

void add(Precision precision, const void* a, const void* b, void* y, std::int64_t values,
         cudaStream_t stream) {
  with_type_of(precision, [&]<class T>(T) {
    bodies::elementwise<bodies::SumOf, T>(StreamLaunch(stream), y, values, a, b);
  });
}

void relu_backward(Precision precision, const void* dy, const void* y, void* dx,
                   std::int64_t values, cudaStream_t stream) {
  with_type_of(precision, [&]<class T>(T) {
    bodies::elementwise<bodies::ReluDerivative, T>(StreamLaunch(stream), dx, values, dy, y);
  });
}

}  // namespace slackline::net::cuda
