#include "imagenet/crop_box.h"

#include <slackline/error.h>

#include <algorithm>

namespace slackline::imagenet {

void check_boxes(std::span<const Box> boxes) {
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    const auto check = [&](const char* side, float value) {
      if (value >= 0.0f && value <= 1.0f) return;
      const std::string key = text("image/object/bbox/", side);
      throw DataError(key, text("box ", i, " is at ", value, ", not in 0..1"));
    };
    check("ymin", boxes[i].ymin);
    check("xmin", boxes[i].xmin);
    check("ymax", boxes[i].ymax);
    check("xmax", boxes[i].xmax);
  }
}

namespace crop_box_detail {

bool covers_an_object(const Window& crop, int image_height, int image_width,
                      std::span<const Box> boxes, float min_object_covered) {
  const auto covered = [&](int y0, int x0, int y1, int x1) {
    const float box_area = static_cast<float>(y1 - y0) * static_cast<float>(x1 - x0);
    if (y1 <= y0 || x1 <= x0 || box_area < 1.0f) return false;
    const int height = std::min(crop.y + crop.height, y1) - std::max(crop.y, y0);
    const int width = std::min(crop.x + crop.width, x1) - std::max(crop.x, x0);
    const float shared =
        height < 0 || width < 0 ? 0.0f : static_cast<float>(height) * static_cast<float>(width);
    return shared / box_area >= min_object_covered;
  };
  if (boxes.empty()) return covered(0, 0, image_height, image_width);

  const auto pixels = [](float fraction, int side) {
    return static_cast<int>(fraction * static_cast<float>(side));
  };
  return std::any_of(boxes.begin(), boxes.end(), [&](const Box& box) {
    return covered(pixels(box.ymin, image_height), pixels(box.xmin, image_width),
                   pixels(box.ymax, image_height), pixels(box.xmax, image_width));
  });
}

}  // namespace crop_box_detail
}  // namespace slackline::imagenet
