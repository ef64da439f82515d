#pragma once

#include <slackline/scratch.h>

#include <cstdint>

#include <opencv2/core.hpp>

#include "imagenet/resize.h"

namespace slackline {

/// A matrix in the memory of `scratch`; valid until its reset().
[[nodiscard]] cv::Mat scratch_matrix(int rows, int columns, int type, Scratch& scratch);

/// The part of a resize's input that it reads: RowResizer::needed() for one row of matrices.
[[nodiscard]] imagenet::Window needed_by(const imagenet::Resize& resize, Scratch& scratch);

/// Resizes `needed` (uint8, 3 channels, needed_by() of the input; changed if the resize mirrors)
/// with OpenCV's matrix arithmetic in float32, columns first, and rounds to `out`, (rows.count,
/// columns.count, 3). Throws cv::Exception.
///
/// Not cv::resize: it cannot sample by the legacy rule, and of its half-pixel kernels the most
/// exact one (float32 input) is up to 0.0025 off TensorFlow's values, whose coordinates are
/// float32.
void resize_opencv(cv::Mat& needed, const imagenet::Resize& resize, Scratch& scratch,
                   std::uint8_t* out);

}  // namespace slackline
