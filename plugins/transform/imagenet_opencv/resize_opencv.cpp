#include "resize_opencv.h"

#include <cstddef>

namespace slackline {
namespace {

/// Row i of the result is low[i] + (high[i] - low[i]) * weight[i] of `in` (float32, 3 channels),
/// whose first row has the number taps.low[0].
cv::Mat lerp_rows(const cv::Mat& in, const imagenet::Taps& taps, Scratch& scratch) {
  const int first = taps.low.front();
  cv::Mat out = scratch_matrix(static_cast<int>(taps.low.size()), in.cols, CV_32FC3, scratch);
  cv::Mat difference = scratch_matrix(1, in.cols, CV_32FC3, scratch);
  for (int i = 0; i < out.rows; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const cv::Mat low = in.row(taps.low[at] - first);
    cv::Mat row = out.row(i);
    if (taps.weight[at] == 0.0f) {
      low.copyTo(row);
    } else {
      cv::subtract(in.row(taps.high[at] - first), low, difference);
      cv::scaleAdd(difference, static_cast<double>(taps.weight[at]), low, row);
    }
  }
  return out;
}

cv::Mat transposed(const cv::Mat& in, Scratch& scratch) {
  cv::Mat out = scratch_matrix(in.cols, in.rows, in.type(), scratch);
  cv::transpose(in, out);
  return out;
}

}  // namespace

cv::Mat scratch_matrix(int rows, int columns, int type, Scratch& scratch) {
  const auto stride =
      static_cast<std::size_t>(columns) * static_cast<std::size_t>(CV_ELEM_SIZE(type));
  const auto memory = scratch.take<std::uint8_t>(static_cast<std::size_t>(rows) * stride);
  return {rows, columns, type, memory.data(), stride};
}

imagenet::Window needed_by(const imagenet::Resize& resize, Scratch& scratch) {
  const auto rows = imagenet::make_taps(resize.rows, resize.sampling, scratch);
  const auto columns = imagenet::make_taps(resize.columns, resize.sampling, scratch);
  const int low = columns.low.front();
  const int high = columns.high.back();
  return {rows.low.front(), resize.flip ? resize.columns.in - 1 - high : low,
          rows.high.back() - rows.low.front() + 1, high - low + 1};
}

void resize_opencv(cv::Mat& needed, const imagenet::Resize& resize, Scratch& scratch,
                   std::uint8_t* out) {
  const auto rows = imagenet::make_taps(resize.rows, resize.sampling, scratch);
  const auto columns = imagenet::make_taps(resize.columns, resize.sampling, scratch);
  if (resize.flip) cv::flip(needed, needed, 1);

  const cv::Mat turned = transposed(needed, scratch);
  cv::Mat floats = scratch_matrix(turned.rows, turned.cols, CV_32FC3, scratch);
  turned.convertTo(floats, CV_32F);
  const cv::Mat narrow = transposed(lerp_rows(floats, columns, scratch), scratch);
  const cv::Mat resized = lerp_rows(narrow, rows, scratch);
  cv::Mat rounded(resize.rows.count, resize.columns.count, CV_8UC3, out);
  resized.convertTo(rounded, CV_8U);
}

}  // namespace slackline
