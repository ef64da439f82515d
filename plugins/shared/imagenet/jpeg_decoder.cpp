#include "imagenet/jpeg_decoder.h"

#include <slackline/error.h>

#include <algorithm>
#include <array>
#include <cassert>

namespace slackline::imagenet {
namespace {

/// Rows that libjpeg is offered at a time. With chroma subsampled vertically it makes two at once.
constexpr int kRowsAtOnce = 4;

bool is_cmyk(const jpeg_decompress_struct& info) {
  return info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK;
}

/// In place: three bytes never catch up with four. Adobe's files hold inverted inks.
void cmyk_to_rgb(std::uint8_t* row, JDIMENSION width, bool inverted) {
  for (JDIMENSION i = 0; i < width; ++i) {
    const std::uint8_t* const in = row + std::size_t{4} * i;
    const int ink[4] = {in[0], in[1], in[2], in[3]};
    for (int c = 0; c < 3; ++c) {
      row[std::size_t{3} * i + static_cast<std::size_t>(c)] = static_cast<std::uint8_t>(
          inverted ? ink[3] * ink[c] / 255 : (255 - ink[3]) * (255 - ink[c]) / 255);
    }
  }
}

}  // namespace

void JpegDecoder::stop(j_common_ptr info) {
  auto* const errors = static_cast<Errors*>(info->err);
  (*info->err->format_message)(info, errors->message);
  std::longjmp(errors->jump, 1);
}

void JpegDecoder::take_message(j_common_ptr info, int level) {
  if (level < 0) stop(info);  // a warning: what follows would be made up
}

void JpegDecoder::watch_scans(j_common_ptr info) {
  const int max_scans = static_cast<Progress*>(info->progress)->max_scans;
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= max_scans) return;
  auto* const errors = static_cast<Errors*>(info->err);
  std::snprintf(errors->message, sizeof errors->message, "more than %d scans", max_scans);
  std::longjmp(errors->jump, 1);
}

template <class Body>
void JpegDecoder::guarded(const Body& body) {
  if (setjmp(errors_.jump) != 0) throw DataError(text("jpeg: ", errors_.message));
  body();
}

JpegDecoder::JpegDecoder(std::span<const std::byte> jpeg, const DecodeOptions& options)
    : jpeg_(jpeg), options_(options) {
  info_.err = jpeg_std_error(&errors_);
  errors_.error_exit = stop;
  errors_.emit_message = take_message;
  guarded([&] {
    jpeg_create_decompress(&info_);
    progress_.progress_monitor = watch_scans;
    progress_.max_scans = options_.max_scans;
    info_.progress = &progress_;
    jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(jpeg_.data()),
                 static_cast<unsigned long>(jpeg_.size()));
    jpeg_read_header(&info_, TRUE);
  });
  const std::uint64_t pixels = std::uint64_t{info_.image_width} * info_.image_height;
  if (pixels > options_.max_pixels) {
    throw DataError(text("jpeg: ", info_.image_height, "x", info_.image_width, " is ", pixels,
                         " pixels, more than max_pixels = ", options_.max_pixels));
  }
}

int JpegDecoder::height() const noexcept { return static_cast<int>(info_.image_height); }
int JpegDecoder::width() const noexcept { return static_cast<int>(info_.image_width); }

void JpegDecoder::decode(const Region& region, Scratch& scratch, RowSink& sink) {
  const Window& wanted = region.wanted;
  assert(wanted.y >= 0 && wanted.height > 0 && wanted.y + wanted.height <= height());
  assert(region.decoded_x >= 0 && region.decoded_x + region.decoded_width <= width());
  assert(wanted.x >= region.decoded_x && wanted.width > 0 &&
         wanted.x + wanted.width <= region.decoded_x + region.decoded_width);
  const bool cmyk = is_cmyk(info_);

  guarded([&] {
    info_.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    info_.dct_method = options_.dct == Dct::kFast ? JDCT_IFAST : JDCT_ISLOW;
    info_.do_fancy_upsampling = TRUE;
    jpeg_start_decompress(&info_);
  });

  // The crop starts at the block boundary at or left of x, so up to two blocks more come back.
  auto x = static_cast<JDIMENSION>(region.decoded_x);
  auto wide = static_cast<JDIMENSION>(region.decoded_width);
  guarded([&] {
    if (wide < info_.output_width) jpeg_crop_scanline(&info_, &x, &wide);
    if (wanted.y > 0) jpeg_skip_scanlines(&info_, static_cast<JDIMENSION>(wanted.y));
  });

  const std::size_t row_bytes =
      static_cast<std::size_t>(info_.output_width) * static_cast<std::size_t>(cmyk ? 4 : 3);
  const std::size_t stride = (row_bytes + 2 * kRowPadding + 63) / 64 * 64;
  const auto memory = scratch.take<std::uint8_t>(stride * kRowsAtOnce);
  std::fill(memory.begin(), memory.end(), std::uint8_t{0});
  std::array<JSAMPROW, kRowsAtOnce> rows{};
  for (std::size_t i = 0; i < kRowsAtOnce; ++i) {
    rows[i] = memory.data() + i * stride + kRowPadding;
  }
  const std::size_t first = (static_cast<std::size_t>(wanted.x) - x) * kPixelBytes;

  guarded([&] {
    for (int y = 0; y < wanted.height;) {
      const auto ask = static_cast<JDIMENSION>(std::min(kRowsAtOnce, wanted.height - y));
      const JDIMENSION got = jpeg_read_scanlines(&info_, rows.data(), ask);
      for (JDIMENSION i = 0; i < got; ++i, ++y) {
        if (cmyk) cmyk_to_rgb(rows[i], info_.output_width, info_.saw_Adobe_marker != 0);
        sink.row(y, rows[i] + first);
      }
    }
  });
  check_end();
}

/// Decoding stopped before the end, so libjpeg has not seen whether there is one. Coded data never
/// contains the marker's two bytes: a search backwards ends at once in a good file, and finds
/// nothing in one that was cut.
void JpegDecoder::check_end() {
  constexpr int kEndOfImage = 0xD9;
  if (jpeg_input_complete(&info_) != 0 || info_.unread_marker == kEndOfImage) return;
  const std::uint8_t* const begin = info_.src->next_input_byte;
  for (const std::uint8_t* at = begin + info_.src->bytes_in_buffer; at - begin >= 2; --at) {
    if (at[-2] == 0xFF && at[-1] == kEndOfImage) return;
  }
  throw DataError(text("jpeg: truncated: no end-of-image marker in ", jpeg_.size(), " bytes"));
}

}  // namespace slackline::imagenet
