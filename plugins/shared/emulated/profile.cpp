#include "emulated/profile.h"

namespace slackline::emulated {

// Images/s of the V100 and the A100: NVIDIA DeepLearningExamples, TensorFlow/Classification/
// ConvNets/resnet50v1.5/README.md, training performance with mixed precision and XLA, batch size
// 256, one GPU of a DGX-1 and of a DGX A100. Of the H100: MLPerf Training v3.1, NVIDIA, one DGX
// H100 (eos_ngc23.09_mxnet), median epoch of 56,670 images/s over its 8 GPUs; it is the only one
// with the time of the all-reduce in it.
//
// Uploads go over PCIe x16 of generation 3, 4 and 5, which carries 15.8, 31.5 and 63 GB/s. What
// copies reach: 12 GB/s (V100) and 25 GB/s (A100), both measured, github.com/ZaidQureshi/bam issue
// 54; 50 GB/s (H100) is the same share, about 80 %, of generation 5 (for comparison, the 52.8 GB/s
// of copies to the host in github.com/NVIDIA/nvbandwidth issue 24).
//
// Nobody has published the H200 training ResNet-50. It is the H100's chip and link with faster
// memory, 4.8 against 3.35 TB/s (NVIDIA's data sheets), and this network waits for memory in most
// layers: a roofline over them gives 1.25 to 1.33 times the H100. The lower end is taken.
Speed speed_of(Profile profile) {
  switch (profile) {
    case Profile::kV100:
      return {.images_per_s = 1270, .upload_bytes_per_s = 12e9};
    case Profile::kA100:
      return {.images_per_s = 2375, .upload_bytes_per_s = 25e9};
    case Profile::kH100:
      return {.images_per_s = 7084, .upload_bytes_per_s = 50e9};
    case Profile::kH200:
      return {.images_per_s = 1.25 * 7084, .upload_bytes_per_s = 50e9};
    case Profile::kNone:
      break;
  }
  return {};
}

}  // namespace slackline::emulated
