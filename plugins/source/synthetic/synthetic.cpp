// Made-up pixels that cost nothing to read: the ceiling of any input path. A few images are made
// once and lent again and again.

#include <slackline/plugin.h>
#include <slackline/random.h>
#include <slackline/source.h>
#include <slackline/transform.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

namespace slackline {
namespace {

// random_words() of sample i: transforms use the low numbers of the operations.
constexpr std::uint32_t kPixelsOp = 253;
constexpr std::uint32_t kLabelOp = 252;

/// Normally distributed numbers, two at a time (Box and Muller). What lies beyond two standard
/// deviations is drawn again, as TensorFlow's truncated_normal does.
class TruncatedNormal {
 public:
  explicit TruncatedNormal(Philox words) : words_(words) {}

  float operator()() {
    float z = draw();
    while (std::abs(z) > 2.0F) z = draw();
    return z;
  }

 private:
  float draw() {
    if (has_spare_) {
      has_spare_ = false;
      return spare_;
    }
    const float radius = std::sqrt(-2.0F * std::log(1.0F - uniform_float(words_)));
    const float angle = 2.0F * std::numbers::pi_v<float> * uniform_float(words_);
    spare_ = radius * std::sin(angle);
    has_spare_ = true;
    return radius * std::cos(angle);
  }

  Philox words_;
  float spare_ = 0;
  bool has_spare_ = false;
};

class SyntheticSource final : public Source {
 public:
  struct Options {
    std::array<std::int32_t, 2> image_size{224, 224};
    std::int32_t num_classes = 1000;
    std::int64_t records = 1'281'167;
    std::int32_t distinct = 1;

    static OptionTable<Options> table() {
      return {
          option("image_size", &Options::image_size,
                 "[height, width], the same as that of the batches")
              .range(1, 16384)
              .unit("pixels"),
          option("num_classes", &Options::num_classes, "labels are drawn from 0 to one less")
              .range(1, 1 << 30)
              .unit("classes"),
          option("records", &Options::records, "how many there are in an epoch")
              .range(std::int64_t{1}, std::int64_t{1} << 40)
              .unit("records"),
          option("distinct", &Options::distinct, "different images, which take turns")
              .range(1, 65536)
              .unit("images"),
      };
    }
  };

  explicit SyntheticSource(const Options& options) : options_(options) {
    const ImageShape shape{options.image_size[0], options.image_size[1], 3};
    for (std::uint32_t i = 0; i < static_cast<std::uint32_t>(options.distinct); ++i) {
      images_.push_back(make_image(shape.size(), i));
      labels_.push_back(make_label(i));
    }
  }

  RecordFormat format() const override { return RecordFormat::kPixels; }

  void start_epoch(const EpochPlan& plan) override {
    assert(plan.shard_index < plan.shard_count);
    next_ = plan.shard_index;
    stride_ = plan.shard_count;
  }

  bool next(Record& record) override {
    record = {};
    if (next_ >= static_cast<std::uint64_t>(options_.records)) return false;
    const auto image = static_cast<std::size_t>(next_ % images_.size());
    record.bytes = images_[image];
    record.format = RecordFormat::kPixels;
    record.label = labels_[image];
    record.id = next_;
    next_ += stride_;
    return true;
  }

  void give_back(const Record& /*record*/) noexcept override {}

 private:
  static constexpr float kMean = 127;
  static constexpr float kDeviation = 60;

  static std::vector<std::byte> make_image(std::size_t size, std::uint32_t index) {
    TruncatedNormal normal(random_words({.seed = 0, .sample_id = index, .epoch = 0}, kPixelsOp));
    std::vector<std::byte> pixels(size);
    for (std::byte& pixel : pixels) {
      const float value = std::clamp(kMean + kDeviation * normal(), 0.0F, 255.0F);
      pixel = static_cast<std::byte>(std::lround(value));
    }
    return pixels;
  }

  std::int32_t make_label(std::uint32_t index) const {
    Philox words = random_words({.seed = 0, .sample_id = index, .epoch = 0}, kLabelOp);
    return static_cast<std::int32_t>(
        uniform_below(words, static_cast<std::uint32_t>(options_.num_classes)));
  }

  Options options_;
  std::vector<std::vector<std::byte>> images_;  ///< (H, W, C), RGB, 0..255
  std::vector<std::int32_t> labels_;            ///< one for each image
  std::uint64_t next_ = 0;                      ///< record of the epoch, over all shards
  std::uint64_t stride_ = 1;
};

}  // namespace

SLACKLINE_PLUGIN(Source, SyntheticSource, "synthetic",
                 "lends made-up images over and over: input without reading or decoding")

}  // namespace slackline
