#include "bodies/batch_norm_backward.h"
#include "launch.cuh"

namespace slackline::net::cuda {

void batch_norm_backward(Precision precision, const BatchNormBackwardArgs& args,
                         cudaStream_t stream) {
  with_type_of(precision,
               [&]<class T>(T) { bodies::batch_norm_backward<T>(StreamLaunch(stream), args); });
}

}  // namespace slackline::net::cuda
