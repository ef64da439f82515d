#define SLACKLINE_PLANE_KERNELS plane_kernels_avx2
#include "plane_kernels_body.h"
