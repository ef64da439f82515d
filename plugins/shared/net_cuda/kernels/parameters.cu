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

void look_up_rate(const float* table, std::int64_t size, Schedule* schedule, cudaStream_t stream) {
  bodies::look_up_rate(StreamLaunch(stream), table, size, schedule);
}

}  // namespace slackline::net::cuda
