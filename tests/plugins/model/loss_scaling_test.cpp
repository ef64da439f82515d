// What resnet_cudnn multiplies the loss by to begin with.

#include "loss_scaling.h"

#include <gtest/gtest.h>

namespace slackline {
namespace {

using net::cuda::Precision;

// 128: default_for_fp16 in tensorflow/models' resnet_imagenet_main.py (2019). 2^15: the initial
// scale of TensorFlow's DynamicLossScale.
TEST(LossScalingTest, BeginsWithUpstreamsScaleIfNoneIsAskedFor) {
  EXPECT_EQ(initial_loss_scale(Precision::kFloat16, LossScaling::kFixed, 0), 128);
  EXPECT_EQ(initial_loss_scale(Precision::kFloat16, LossScaling::kDynamic, 0), 32768);
}

TEST(LossScalingTest, BeginsWithTheUsersScale) {
  EXPECT_EQ(initial_loss_scale(Precision::kFloat16, LossScaling::kFixed, 1024), 1024);
  EXPECT_EQ(initial_loss_scale(Precision::kFloat16, LossScaling::kDynamic, 16), 16);
}

TEST(LossScalingTest, ScalesNothingInOtherPrecisionsOrIfNotAskedTo) {
  EXPECT_EQ(initial_loss_scale(Precision::kFloat16, LossScaling::kNone, 1024), 1);
  for (const Precision precision : {Precision::kFloat32, Precision::kBfloat16}) {
    for (const LossScaling scaling : {LossScaling::kFixed, LossScaling::kDynamic}) {
      EXPECT_EQ(initial_loss_scale(precision, scaling, 1024), 1);
      EXPECT_EQ(initial_loss_scale(precision, scaling, 0), 1);
    }
  }
}

}  // namespace
}  // namespace slackline
