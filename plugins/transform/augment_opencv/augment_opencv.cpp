// Changes a decoded sample in place by OpenCV: colour, blur, rotation, erasing, in this order, each
// with a probability of its own. Stands behind a transform that decodes.

#include <slackline/error.h>
#include <slackline/plugin.h>
#include <slackline/transform.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

namespace slackline {
namespace {

constexpr int kEraseAttempts = 10;

/// What is done to one sample. All of it is always drawn, so that switching one change on leaves
/// the others as they were.
struct Draws {
  bool color, blur, rotate, erase;
  double brightness, contrast, saturation;  ///< factors
  double hue;                               ///< turns
  double sigma;                             ///< pixels
  double degrees;                           ///< counterclockwise
};

class AugmentOpencv final : public Transform {
 public:
  struct Options {
    double color_probability = 0;
    double brightness = 0.4;
    double contrast = 0.4;
    double saturation = 0.4;
    double hue = 0.0;
    double blur_probability = 0;
    std::array<double, 2> blur_sigma{0.1, 2.0};
    double rotation_probability = 0;
    std::array<double, 2> rotation{-15.0, 15.0};
    double erasing_probability = 0;
    std::array<double, 2> erasing_area{0.02, 0.33};
    std::array<double, 2> erasing_aspect_ratio{0.3, 3.3};
    std::array<std::int32_t, 3> erasing_color{124, 117, 104};

    static OptionTable<Options> table() {
      return {
          option("color_probability", &Options::color_probability,
                 "how often brightness, contrast, saturation and hue are changed")
              .range(0.0, 1.0),
          option("brightness", &Options::brightness,
                 "largest change: all channels times 1 - b to 1 + b")
              .range(0.0, 1.0),
          option("contrast", &Options::contrast,
                 "largest change: distance from the mean grey times 1 - c to 1 + c")
              .range(0.0, 1.0),
          option("saturation", &Options::saturation,
                 "largest change: distance from the pixel's grey times 1 - s to 1 + s")
              .range(0.0, 1.0),
          option("hue", &Options::hue, "largest change to either side; 0.5 reaches every hue")
              .range(0.0, 0.5)
              .unit("turns"),
          option("blur_probability", &Options::blur_probability, "how often a sample is blurred")
              .range(0.0, 1.0),
          option("blur_sigma", &Options::blur_sigma, "of the Gaussian, from and to")
              .range(0.01, 100.0)
              .unit("pixels"),
          option("rotation_probability", &Options::rotation_probability,
                 "how often a sample is turned about its middle")
              .range(0.0, 1.0),
          option("rotation", &Options::rotation,
                 "counterclockwise, from and to; what turns in from outside is mirrored")
              .range(-180.0, 180.0)
              .unit("degrees"),
          option("erasing_probability", &Options::erasing_probability,
                 "how often a rectangle is painted over")
              .range(0.0, 1.0),
          option("erasing_area", &Options::erasing_area, "share of the sample, from and to")
              .range(0.0001, 1.0),
          option("erasing_aspect_ratio", &Options::erasing_aspect_ratio,
                 "width / height, from and to; drawn evenly in its logarithm")
              .range(0.01, 100.0),
          option("erasing_color", &Options::erasing_color, "RGB of the rectangle").range(0, 255),
      };
    }
  };

  explicit AugmentOpencv(const Options& options) : options_(options) {
    check_order("blur_sigma", options.blur_sigma);
    check_order("rotation", options.rotation);
    check_order("erasing_area", options.erasing_area);
    check_order("erasing_aspect_ratio", options.erasing_aspect_ratio);
    cv::setNumThreads(0);  // the workers are the threads
  }

  [[nodiscard]] std::span<const RecordFormat> decodes() const noexcept override { return {}; }

  void prepare(const ImageShape& shape) override {
    if (shape.channels == 3) return;
    throw ConfigError(
        text("images have ", shape.channels, " channels, but colours need 3 (red, green, blue)"));
  }

  void apply(const Record& /*record*/, SampleSlot& slot, TransformContext& context) const override {
    Philox words = random_words(context.sample, context.op);
    const Draws draws = draw(words);
    cv::Mat image(slot.shape.height, slot.shape.width, CV_8UC3, slot.pixels.data());
    try {
      if (draws.color) change_color(image, draws, context.scratch);
      if (draws.blur) cv::GaussianBlur(image, image, {}, draws.sigma);
      if (draws.rotate) rotate(image, draws.degrees, context.scratch);
      if (draws.erase) erase(image, words);
    } catch (const cv::Exception& error) {
      throw DataError(text("opencv: ", error.err, " in ", error.func));
    }
  }

 private:
  static void check_order(const char* option, const std::array<double, 2>& range) {
    if (range[0] <= range[1]) return;
    throw ConfigError(option, text("'", option, "' is [", range[0], ", ", range[1],
                                   "], but the smaller number comes first"));
  }

  static double between(const std::array<double, 2>& range, Philox& words) {
    return range[0] + (range[1] - range[0]) * static_cast<double>(uniform_float(words));
  }

  static bool happens(double probability, Philox& words) {
    return static_cast<double>(uniform_float(words)) < probability;
  }

  [[nodiscard]] Draws draw(Philox& words) const {
    const auto factor = [&](double change) { return between({1 - change, 1 + change}, words); };
    Draws draws{};
    draws.color = happens(options_.color_probability, words);
    draws.brightness = factor(options_.brightness);
    draws.contrast = factor(options_.contrast);
    draws.saturation = factor(options_.saturation);
    draws.hue = between({-options_.hue, options_.hue}, words);
    draws.blur = happens(options_.blur_probability, words);
    draws.sigma = between(options_.blur_sigma, words);
    draws.rotate = happens(options_.rotation_probability, words);
    draws.degrees = between(options_.rotation, words);
    draws.erase = happens(options_.erasing_probability, words);
    return draws;
  }

  static cv::Mat matrix_like(const cv::Mat& image, int type, Scratch& scratch) {
    const auto bytes = image.total() * static_cast<std::size_t>(CV_ELEM_SIZE(type));
    return {image.rows, image.cols, type, scratch.take<std::uint8_t>(bytes).data()};
  }

  /// Brightness, then contrast, saturation and hue; rounded to uint8 after each.
  static void change_color(cv::Mat& image, const Draws& draws, Scratch& scratch) {
    image.convertTo(image, -1, draws.brightness);

    cv::Mat grey = matrix_like(image, CV_8UC1, scratch);
    cv::cvtColor(image, grey, cv::COLOR_RGB2GRAY);
    image.convertTo(image, -1, draws.contrast, (1 - draws.contrast) * cv::mean(grey)[0]);

    cv::Mat wide = matrix_like(image, CV_8UC3, scratch);
    cv::cvtColor(image, grey, cv::COLOR_RGB2GRAY);
    cv::cvtColor(grey, wide, cv::COLOR_GRAY2RGB);
    cv::addWeighted(image, draws.saturation, wide, 1 - draws.saturation, 0, image);

    const auto steps = static_cast<int>(std::lround(draws.hue * 256));
    if (steps == 0) return;
    std::array<cv::Vec3b, 256> moved{};
    for (int i = 0; i < 256; ++i) {
      const auto same = static_cast<std::uint8_t>(i);
      moved[same] = {static_cast<std::uint8_t>(i + steps), same, same};  // hues go round
    }
    cv::cvtColor(image, wide, cv::COLOR_RGB2HSV_FULL);
    cv::LUT(wide, cv::Mat(1, 256, CV_8UC3, moved.data()), wide);
    cv::cvtColor(wide, image, cv::COLOR_HSV2RGB_FULL);
  }

  static void rotate(cv::Mat& image, double degrees, Scratch& scratch) {
    const cv::Point2f middle(static_cast<float>(image.cols - 1) / 2,
                             static_cast<float>(image.rows - 1) / 2);
    cv::Mat turned = matrix_like(image, CV_8UC3, scratch);
    cv::warpAffine(image, turned, cv::getRotationMatrix2D(middle, degrees, 1), image.size(),
                   cv::INTER_LINEAR, cv::BORDER_REFLECT_101);
    turned.copyTo(image);
  }

  /// The first of a few rectangles that fits; none if none does.
  void erase(cv::Mat& image, Philox& words) const {
    const auto& ratios = options_.erasing_aspect_ratio;
    for (int attempt = 0; attempt < kEraseAttempts; ++attempt) {
      const double area =
          between(options_.erasing_area, words) * static_cast<double>(image.total());
      const double ratio = std::exp(between({std::log(ratios[0]), std::log(ratios[1])}, words));
      const int height = std::max(static_cast<int>(std::lround(std::sqrt(area / ratio))), 1);
      const int width = std::max(static_cast<int>(std::lround(std::sqrt(area * ratio))), 1);
      if (height > image.rows || width > image.cols) continue;
      const auto place = [&](int room) {
        return static_cast<int>(uniform_below(words, static_cast<std::uint32_t>(room + 1)));
      };
      const int y = place(image.rows - height);
      const int x = place(image.cols - width);
      const auto& color = options_.erasing_color;
      image(cv::Rect(x, y, width, height)).setTo(cv::Scalar(color[0], color[1], color[2]));
      return;
    }
  }

  Options options_;
};

}  // namespace
}  // namespace slackline

SLACKLINE_PLUGIN(slackline::Transform, slackline::AugmentOpencv, "augment_opencv",
                 "changes colour, blurs, rotates and erases, each with its probability")
