// Any bytes are an image file for both ImageNet recipes: a sample or a DataError, never anything
// else. The input's first byte chooses the recipe; the rest is the file.

#include <slackline/error.h>
#include <slackline/random.h>
#include <slackline/scratch.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "imagenet/imagenet_transform.h"

namespace {

using namespace slackline;
using namespace slackline::imagenet;

constexpr ImageShape kShape{24, 16, 3};
constexpr DecodeOptions kSmall{.dct = Dct::kFast, .max_pixels = 1 << 18, .max_scans = 20};

Recipe choose(const ImageReader& image, unsigned choice) {
  const Pixels pixels = (choice & 1) != 0 ? Pixels::kTf : Pixels::kAccurate;
  if ((choice & 2) != 0) return eval_recipe(image.height(), image.width(), kShape, pixels);
  Philox words = random_words({.seed = choice}, 0);
  const Window window = sample_crop(image.height(), image.width(), {}, CropLimits{}, words);
  return train_recipe(window, (choice & 4) != 0, kShape, pixels);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  static Scratch scratch;
  scratch.reset();
  std::vector<std::uint8_t> sample(kShape.size());
  try {
    ImageReader image(std::as_bytes(std::span(data + 1, size - 1)), kSmall, scratch);
    const Recipe recipe = choose(image, data[0]);
    RowResizer resizer(recipe.resize, scratch, sample.data());
    image.decode(region_of(recipe, resizer.needed(), image.width()), resizer);
  } catch (const DataError&) {
    return 0;
  }
  // Touches every byte: one that was not written is found by a checking allocator.
  unsigned sum = 0;
  for (const std::uint8_t value : sample) sum += value;
  if (sum > kShape.size() * 255) std::abort();
  return 0;
}
