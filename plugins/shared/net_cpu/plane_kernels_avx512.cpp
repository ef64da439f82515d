#define SLACKLINE_PLANE_KERNELS plane_kernels_avx512
#include "plane_kernels_body.h"
