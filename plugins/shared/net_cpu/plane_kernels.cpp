#include "plane_kernels.h"

namespace slackline::net::cpu {

template <class T>
const PlaneKernels<T>& plane_kernels(std::size_t lanes) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    return plane_kernels_avx512<T>(lanes);
  }
  if (__builtin_cpu_supports("avx2")) return plane_kernels_avx2<T>(lanes);
#endif
  return plane_kernels_portable<T>(lanes);
}

template const PlaneKernels<float>& plane_kernels(std::size_t lanes);
template const PlaneKernels<Bf16>& plane_kernels(std::size_t lanes);

}  // namespace slackline::net::cpu
