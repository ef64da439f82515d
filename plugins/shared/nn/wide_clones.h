#pragma once

// For the kernels of this library alone.

// Compiled for the CPU's vectors as well as for the oldest x86-64; the loader chooses. Not under a
// sanitizer, whose runtime does not work yet when the choice is made.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define SLACKLINE_WIDE_CLONES [[gnu::target_clones("avx2", "default")]]
#else
#define SLACKLINE_WIDE_CLONES
#endif
