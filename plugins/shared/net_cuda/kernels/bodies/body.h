#pragma once

#include <cstdint>

/// What a kernel is here: a *body*, a struct whose fields are its arguments and whose operator() is
/// what one thread does.
///
///   struct Body {
///     static constexpr const char* kName;     // for messages
///     static constexpr int kThreads;          // of a block
///     struct Shared { ... };                  // what a block shares, not initialised; or Nothing
///     template <class Block>
///     SLACKLINE_BODY void operator()(const Block& block, Shared& shared) const;
///   };
///
/// A Block has thread(), x(), y(), z() (its place in the grid) and sync(). On a GPU that is a thin
/// wrapper (launch.cuh); in tests the threads of a block are the operating system's, so a missing
/// sync() is a data race that ThreadSanitizer sees, and blocks run in any order. A body that shares
/// Nothing does not sync.
///
/// How an operation is cut into grids and bodies is host code, here too: function templates over
/// `launch(grid, body)`, so that what is tested without a GPU is what runs on one.

#ifdef __CUDACC__
#define SLACKLINE_BODY __device__ __forceinline__
#define SLACKLINE_BODY_AND_HOST __host__ __device__ __forceinline__
#define SLACKLINE_UNROLL _Pragma("unroll")
#else
#define SLACKLINE_BODY inline
#define SLACKLINE_BODY_AND_HOST inline
#define SLACKLINE_UNROLL
#endif

namespace slackline::net::cuda::bodies {

/// Blocks of a launch.
struct Grid {
  std::int64_t x = 1, y = 1, z = 1;
};

struct Nothing {};

SLACKLINE_BODY_AND_HOST constexpr std::int64_t ceil_div(std::int64_t value, std::int64_t by) {
  return (value + by - 1) / by;
}

template <class T>
SLACKLINE_BODY_AND_HOST constexpr T least(T a, T b) {
  return b < a ? b : a;
}
template <class T>
SLACKLINE_BODY_AND_HOST constexpr T most(T a, T b) {
  return a < b ? b : a;
}

// std::numeric_limits has functions of the host alone.
inline constexpr float kInfinity = __builtin_huge_valf(), kNotANumber = __builtin_nanf("");

/// max(value, 0), and not a number stays that.
SLACKLINE_BODY float rectified(float value) { return value < 0 ? 0.0f : value; }

}  // namespace slackline::net::cuda::bodies
