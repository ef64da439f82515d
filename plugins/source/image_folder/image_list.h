#pragma once

#include <slackline/host.h>

#include <cstdint>
#include <string>
#include <vector>

namespace slackline::image_folder {

struct ImageFile {
  std::string path;
  std::int32_t label = 0;  ///< of its folder, from 0
};

/// The images in the folders directly below `root`: folders sorted by bytes, and the files in each
/// of them. Names that begin with a dot are passed over; `host` is warned of all else that is.
///
/// Throws ConfigError("root") if there are no folders or one without images, IoError if one cannot
/// be read.
[[nodiscard]] std::vector<ImageFile> list_images(const std::string& root, Host& host);

}  // namespace slackline::image_folder
