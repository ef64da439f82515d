// Turns ImageNet's records into samples with libjpeg-turbo and nothing else: decodes the part of
// the image that the crop needs, and resizes, mirrors and rounds each row straight into the batch
// while it is still in the cache. The sample is never a whole image anywhere.

#include <slackline/plugin.h>

#include "imagenet/imagenet_transform.h"

namespace slackline {
namespace {

class ImagenetTurbojpeg final : public imagenet::ImagenetTransform {
 public:
  using Options = imagenet::Options;
  using ImagenetTransform::ImagenetTransform;

 private:
  void render(imagenet::ImageReader& image, const imagenet::Recipe& recipe, SampleSlot& slot,
              Scratch& scratch) const override {
    imagenet::RowResizer resizer(recipe.resize, scratch, slot.pixels.data());
    image.decode(imagenet::region_of(recipe, resizer.needed(), image.width()), resizer);
  }
};

}  // namespace
}  // namespace slackline

SLACKLINE_PLUGIN(slackline::Transform, slackline::ImagenetTurbojpeg, "imagenet_turbojpeg",
                 "decodes, crops, resizes and mirrors in one pass over libjpeg-turbo's rows")
