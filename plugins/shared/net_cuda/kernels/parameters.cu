#include "bodies/parameters.h"
#include "launch.cuh"

namespace slackline::net::cuda {

void gather_gradients(Precision precision, const ParameterArgs& args, cudaStream_t stream) {
  with_type_of(precision,
               [&]<class T>(T) { bodies::gather_gradients<T>(StreamLaunch(stream), args); });
}

void update(Precision precision, const ParameterArgs& args, cudaStream_t stream) {
  with_type_of(precision, [&]<class T>(T) { bodies::update<T>(StreamLaunch(stream), args); });
}

void refresh(Precision precision, const ParameterArgs& args, cudaStream_t stream) {
  with_type_of(precision, [&]<class T>(T) { bodies::refresh<T>(StreamLaunch(stream), args); });
}

}  // namespace slackline::net::cuda
