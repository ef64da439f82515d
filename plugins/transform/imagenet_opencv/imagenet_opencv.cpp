// Turns ImageNet's records into samples: libjpeg-turbo decodes the part of the image that is
// needed, and OpenCV's matrices mirror and resize it. The plain way, to compare imagenet_turbojpeg
// with and to start an own transform from; its samples are the same to the last rounding.

#include <slackline/error.h>
#include <slackline/plugin.h>

#include <cstring>

#include <opencv2/core.hpp>

#include "imagenet/imagenet_transform.h"
#include "resize_opencv.h"

namespace slackline {
namespace {

/// Copies rows into a matrix.
class MatrixSink final : public imagenet::RowSink {
 public:
  explicit MatrixSink(cv::Mat& matrix) : matrix_(matrix) {}
  void row(int y, const std::uint8_t* pixels) noexcept override {
    std::memcpy(matrix_.ptr(y), pixels,
                static_cast<std::size_t>(matrix_.cols) * imagenet::kPixelBytes);
  }

 private:
  cv::Mat& matrix_;
};

class ImagenetOpencv final : public imagenet::ImagenetTransform {
 public:
  using Options = imagenet::Options;

  ImagenetOpencv(const Options& options, Host& host) : ImagenetTransform(options, host) {
    cv::setNumThreads(0);  // the workers are the threads
  }

 private:
  void render(imagenet::ImageReader& image, const imagenet::Recipe& recipe, SampleSlot& slot,
              Scratch& scratch) const override {
    try {
      const imagenet::Window needed = needed_by(recipe.resize, scratch);
      cv::Mat pixels = scratch_matrix(needed.height, needed.width, CV_8UC3, scratch);
      MatrixSink sink(pixels);
      image.decode(imagenet::region_of(recipe, needed, image.width()), sink);
      resize_opencv(pixels, recipe.resize, scratch, slot.pixels.data());
    } catch (const cv::Exception& error) {
      throw DataError(text("opencv: ", error.err, " in ", error.func));
    }
  }
};

}  // namespace
}  // namespace slackline

SLACKLINE_PLUGIN(slackline::Transform, slackline::ImagenetOpencv, "imagenet_opencv",
                 "decodes by libjpeg-turbo; mirrors and resizes by OpenCV's matrices")
