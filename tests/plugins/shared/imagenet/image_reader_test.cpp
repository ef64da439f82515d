// What JPEG and PNG files become, and what is refused and why.

#include "imagenet/image_reader.h"

#include <algorithm>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "collect.h"
#include "golden.h"
#include "make_jpeg.h"

namespace slackline {
namespace {

using namespace testing_support;
using imagenet::DecodeOptions;
using imagenet::Window;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

Decoded decode_file(const std::string& file, const DecodeOptions& options = {}) {
  return decode(bytes_of(file), options);
}
std::string outcome_of(const std::string& file, const DecodeOptions& options = {}) {
  return outcome(bytes_of(file), options);
}

/// The largest difference of a decoded picture from what was painted.
int distance(const Decoded& image, const Paint& paint) {
  int largest = 0;
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      for (int c = 0; c < 3; ++c) {
        const int mine = image.pixels[static_cast<std::size_t>((y * image.width + x) * 3 + c)];
        largest = std::max(largest, std::abs(mine - paint(y, x, c)));
      }
    }
  }
  return largest;
}

TEST(ImageReader, GreyBecomesThreeEqualChannels) {
  const Paint grey = [](int y, int x, int) { return static_cast<std::uint8_t>(2 * x + y); };
  const auto image = decode_file(make_jpeg({.in = JCS_GRAYSCALE, .stored = JCS_GRAYSCALE}, grey));
  EXPECT_LE(distance(image, grey), 6);
}

// TensorFlow's formulas: k * c / 255 of inverted inks, which Adobe's marker announces.
TEST(ImageReader, CmykOfAdobeHoldsInvertedInks) {
  const Paint inks = [](int, int x, int c) { return static_cast<std::uint8_t>(60 + 40 * c + x); };
  const auto image =
      decode_file(make_jpeg({.in = JCS_CMYK, .stored = JCS_CMYK, .quality = 100}, inks));
  EXPECT_LE(distance(image,
                     [&](int y, int x, int c) {
                       return static_cast<std::uint8_t>(inks(y, x, 3) * inks(y, x, c) / 255);
                     }),
            3);
}

TEST(ImageReader, CmykWithoutAdobesMarkerHoldsPlainInks) {
  const Paint inks = [](int, int x, int c) { return static_cast<std::uint8_t>(60 + 40 * c + x); };
  const auto image = decode_file(
      make_jpeg({.in = JCS_CMYK, .stored = JCS_CMYK, .adobe_marker = false, .quality = 100}, inks));
  EXPECT_LE(distance(image,
                     [&](int y, int x, int c) {
                       return static_cast<std::uint8_t>((255 - inks(y, x, 3)) *
                                                        (255 - inks(y, x, c)) / 255);
                     }),
            3);
}

TEST(ImageReader, YcckIsReadAsTheCmykThatItStandsFor) {
  const Paint inks = [](int, int x, int c) { return static_cast<std::uint8_t>(60 + 40 * c + x); };
  const auto image =
      decode_file(make_jpeg({.in = JCS_CMYK, .stored = JCS_YCCK, .quality = 100}, inks));
  EXPECT_LE(distance(image,
                     [&](int y, int x, int c) {
                       return static_cast<std::uint8_t>(inks(y, x, 3) * inks(y, x, c) / 255);
                     }),
            8);
}

TEST(ImageReader, AWindowOfCmykIsThatPartOfTheWhole) {
  const std::string file =
      make_jpeg({.in = JCS_CMYK, .stored = JCS_CMYK, .quality = 100}, gradient);
  const auto whole = decode_file(file);
  const auto part = decode(bytes_of(file), Window{10, 20, 7, 9});
  for (int y = 0; y < 7; ++y) {
    for (int i = 0; i < 27; ++i) {
      EXPECT_EQ(part.pixels[static_cast<std::size_t>(y * 27 + i)],
                whole.pixels[static_cast<std::size_t>(((y + 10) * 64 + 20) * 3 + i)]);
    }
  }
}

TEST(ImageReader, ProgressiveGivesThePixelsOfBaseline) {
  EXPECT_EQ(decode_file(make_jpeg({.progressive = true})).pixels, decode_file(make_jpeg()).pixels);
}

// Orientation 6, "turn right", in a little-endian TIFF header.
TEST(ImageReader, ExifOrientationIsIgnoredAsByTensorFlow) {
  const std::string exif("Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0",
                         32);
  const auto image = decode_file(make_jpeg({.exif = exif}));
  EXPECT_EQ(image.height, 48);
  EXPECT_EQ(image.width, 64);
  EXPECT_EQ(image.pixels, decode_file(make_jpeg()).pixels);
}

// ImageNet's train set has one: n02105855_2933.JPEG.
TEST(ImageReader, PngUnderAJpegsNameIsRead) {
  std::vector<std::uint8_t> pixels;
  for (int i = 0; i < 5 * 7 * 3; ++i) pixels.push_back(static_cast<std::uint8_t>(i * 2));
  const std::string file = make_png(5, 7, PNG_FORMAT_RGB, pixels);
  EXPECT_EQ(decode_file(file).pixels, pixels);
  const auto part = decode(bytes_of(file), Window{2, 3, 2, 1});
  EXPECT_EQ(part.pixels, (std::vector<std::uint8_t>{102, 104, 106, 144, 146, 148}));
}

TEST(ImageReader, PngLosesItsAlphaAndGreyIsExpanded) {
  EXPECT_EQ(decode_file(make_png(1, 2, PNG_FORMAT_RGBA, {1, 2, 3, 0, 4, 5, 6, 255})).pixels,
            (std::vector<std::uint8_t>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(decode_file(make_png(1, 2, PNG_FORMAT_GRAY, {7, 9})).pixels,
            (std::vector<std::uint8_t>{7, 7, 7, 9, 9, 9}));
}

TEST(ImageReader, EveryTruncationOfAPngIsRefused) {
  const std::string file = make_png(5, 7, PNG_FORMAT_RGB, std::vector<std::uint8_t>(105, 99));
  for (std::size_t size = 8; size < file.size(); ++size) {
    EXPECT_THAT(outcome_of(file.substr(0, size)), StartsWith("png: ")) << size;
  }
}

TEST(ImageReader, OtherFormatsAreRefusedByName) {
  EXPECT_EQ(outcome_of("GIF89a..."), "image: is a GIF file, expected JPEG or PNG");
  EXPECT_EQ(outcome_of("BM......."), "image: is a BMP file, expected JPEG or PNG");
  EXPECT_EQ(outcome_of("RIFF....WEBPVP8 "), "image: is a WebP file, expected JPEG or PNG");
  EXPECT_EQ(outcome_of(std::string("II*\0....", 8)), "image: is a TIFF file, expected JPEG or PNG");
  EXPECT_EQ(outcome_of("hello"),
            "image: is of unknown format, starting with 68 65 6c 6c, expected JPEG or PNG");
  EXPECT_EQ(outcome_of(""), "image: no bytes, expected a JPEG or a PNG file");
}

TEST(ImageReader, EveryTruncationOfAJpegIsRefused) {
  for (const bool progressive : {false, true}) {
    const std::string file = make_jpeg({.progressive = progressive});
    for (std::size_t size = 3; size < file.size(); ++size) {
      EXPECT_THAT(outcome_of(file.substr(0, size)), StartsWith("jpeg: ")) << size;
    }
  }
}

TEST(ImageReader, ATruncationBelowTheWindowIsRefusedToo) {
  const std::string file = make_jpeg({.height = 400, .width = 300});
  const auto decode_top = [](const std::string& bytes) {
    try {
      (void)decode(bytes_of(bytes), Window{0, 0, 20, 30});
      return std::string("decoded");
    } catch (const DataError& error) {
      return std::string(error.what());
    }
  };
  EXPECT_EQ(decode_top(file), "decoded");
  const std::string cut = file.substr(0, file.size() - 2);
  EXPECT_EQ(decode_top(cut),
            text("jpeg: truncated: no end-of-image marker in ", cut.size(), " bytes"));
}

TEST(ImageReader, BytesBehindTheEndOfTheImageDoNoHarm) {
  EXPECT_EQ(decode_file(make_jpeg() + std::string(1000, 'x')).pixels,
            decode_file(make_jpeg()).pixels);
}

TEST(ImageReader, LibjpegsWarningsAreErrorsInItsOwnWords) {
  std::string file = make_jpeg();
  file.insert(file.size() - 10, "\xFF\xD9");
  EXPECT_THAT(outcome_of(file), HasSubstr("premature end of data segment"));
}

// A damaged file after a good one: whatever comes out must not be the good one's.
TEST(ImageReader, NoPixelOfAnotherImageIsEverReturned) {
  constexpr std::uint8_t kCanary = 0xA5;
  const std::string canary = make_jpeg({.quality = 100}, [](int, int, int) { return kCanary; });
  const std::string victim =
      make_jpeg({.quality = 100}, [](int, int x, int) { return static_cast<std::uint8_t>(x); });
  Scratch scratch;
  int refused = 0;
  for (std::size_t size = victim.size() / 4; size < victim.size(); size += 7) {
    for (const std::string& file : {canary, victim.substr(0, size)}) {
      scratch.reset();
      RowCollector rows(64);
      try {
        imagenet::ImageReader image(bytes_of(file), {}, scratch);
        image.decode({{0, 0, 48, 64}, 0, 64}, rows);
      } catch (const DataError&) {
        ++refused;
      }
      if (file != canary) {
        EXPECT_EQ(std::count(rows.pixels.begin(), rows.pixels.end(), kCanary), 0) << size;
      }
    }
  }
  EXPECT_GT(refused, 50);
}

TEST(ImageReader, NoFlippedByteCrashesOrHangs) {
  const std::string good = make_jpeg({.height = 24, .width = 24});
  std::set<std::string> reasons;
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (const int flip : {0x01, 0x10, 0x80, 0xFF}) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ flip);
      reasons.insert(outcome_of(bad, {.max_pixels = 1 << 20}));
    }
  }
  EXPECT_GT(reasons.size(), 20u);
}

TEST(ImageReader, AHugeImageIsRefusedBeforeAnyMemoryIsTakenForIt) {
  EXPECT_EQ(outcome_of(with_size(make_jpeg(), 65500, 65500)),
            "jpeg: 65500x65500 is 4290250000 pixels, more than max_pixels = 67108864");
  EXPECT_THAT(outcome_of(with_size(make_jpeg(), 65535, 65535)),
              StartsWith("jpeg: Maximum supported image dimension is 65500 pixels"));
  EXPECT_EQ(outcome_of(make_jpeg(), {.max_pixels = 48 * 64 - 1}),
            "jpeg: 48x64 is 3072 pixels, more than max_pixels = 3071");
  EXPECT_EQ(outcome_of(make_jpeg(), {.max_pixels = 48 * 64}), "decoded");
}

TEST(ImageReader, AHugePngIsRefusedBeforeAnyMemoryIsTakenForIt) {
  const std::string file = make_png(5, 7, PNG_FORMAT_RGB, std::vector<std::uint8_t>(105, 99));
  EXPECT_EQ(outcome_of(file, {.max_pixels = 34}),
            "png: 5x7 is 35 pixels, more than max_pixels = 34");
}

TEST(ImageReader, AProgressiveBombIsRefusedByItsScans) {
  const JpegSpec spec{.in = JCS_GRAYSCALE, .stored = JCS_GRAYSCALE, .extra_scans = 63};
  const std::string file = make_jpeg(spec);
  EXPECT_EQ(outcome_of(file), "decoded");
  EXPECT_EQ(outcome_of(file, {.max_scans = 63}), "jpeg: more than 63 scans");
  EXPECT_EQ(outcome_of(file, {.max_scans = 64}), "decoded");
}

TEST(ImageReader, AnImageTooElongatedToBeResizedIsRefused) {
  const ImageShape shape{16384, 16384, 3};
  EXPECT_EQ(imagenet::eval_recipe(2, 50000, shape, imagenet::Pixels::kTf).resize.rows.out, 18725);
  try {
    (void)imagenet::eval_recipe(1, 1000000, shape, imagenet::Pixels::kTf);
    FAIL() << "accepted";
  } catch (const DataError& error) {
    EXPECT_STREQ(error.what(),
                 "image: 1x1000000 is too elongated to be resized to a short side of 18725");
  }
}

TEST(ImageReader, MemoryOfTheScratchDoesNotGrowInASteadyRun) {
  const std::string file = make_jpeg();
  Scratch scratch;
  std::set<const std::uint8_t*> places;
  for (int i = 0; i < 10; ++i) {
    scratch.reset();
    imagenet::ImageReader image(bytes_of(file), {}, scratch);
    RowCollector rows(64);
    image.decode({{0, 0, 48, 64}, 0, 64}, rows);
    if (i > 0) places.insert(scratch.take<std::uint8_t>(1).data());
  }
  EXPECT_LE(places.size(), 2u);
}

}  // namespace
}  // namespace slackline
