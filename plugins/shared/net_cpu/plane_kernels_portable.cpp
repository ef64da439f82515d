#define SLACKLINE_PLANE_KERNELS plane_kernels_portable
#include "plane_kernels_body.h"
