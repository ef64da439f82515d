#pragma once

// For tests of what computes on OpenMP's threads.

#include <gtest/gtest.h>

/// Skips the test under ThreadSanitizer: GCC's OpenMP waits in ways that it does not know, and it
/// reports races of them.
#if defined(__SANITIZE_THREAD__)
#define SLACKLINE_SKIP_OPENMP() GTEST_SKIP() << "ThreadSanitizer does not know GCC's OpenMP"
#else
#define SLACKLINE_SKIP_OPENMP() static_cast<void>(0)
#endif
