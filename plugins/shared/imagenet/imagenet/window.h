#pragma once

namespace slackline::imagenet {

/// A part of an image, in pixels from its upper left corner.
struct Window {
  int y = 0;
  int x = 0;
  int height = 0;
  int width = 0;

  friend bool operator==(const Window&, const Window&) = default;
};

/// What a decoder is asked for: `wanted` of the image, of whose columns those from `decoded_x` on,
/// `decoded_width` of them, are decoded. libjpeg takes their borders for the image's own where it
/// smooths chroma, which changes the outermost ones a little.
struct Region {
  Window wanted;
  int decoded_x = 0;
  int decoded_width = 0;
};

}  // namespace slackline::imagenet
