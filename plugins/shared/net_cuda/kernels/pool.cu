#include "bodies/pool.h"
#include "launch.cuh"

namespace slackline::net::cuda {

void max_pool(Precision precision, const MaxPoolArgs& args, const void* x, void* y,
              std::uint8_t* index, cudaStream_t stream) {
  with_type_of(precision,
               [&]<class T>(T) { bodies::max_pool<T>(StreamLaunch(stream), args, x, y, index); });
}

void max_pool_backward(Precision precision, const MaxPoolArgs& args, const void* dy,
                       const std::uint8_t* index, void* dx, cudaStream_t stream) {
  with_type_of(precision, [&]<class T>(T) {
    bodies::max_pool_backward<T>(StreamLaunch(stream), args, dy, index, dx);
  });
}

void average_pool(Precision precision, const void* x, void* y, std::int64_t images,
                  std::int64_t pixels, std::int64_t channels, cudaStream_t stream) {
  with_type_of(precision, [&]<class T>(T) {
    bodies::average_pool<T>(StreamLaunch(stream), x, y, images, pixels, channels);
  });
}

void average_pool_backward(Precision precision, const void* dy, void* dx, std::int64_t images,
                           std::int64_t pixels, std::int64_t channels, cudaStream_t stream) {
  with_type_of(precision, [&]<class T>(T) {
    bodies::average_pool_backward<T>(StreamLaunch(stream), dy, dx, images, pixels, channels);
  });
}

}  // namespace slackline::net::cuda
