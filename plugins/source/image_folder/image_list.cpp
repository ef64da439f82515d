#include "image_list.h"

#include <slackline/error.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <limits>
#include <string_view>
#include <system_error>

namespace slackline::image_folder {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 3> kExtensions = {".jpg", ".jpeg", ".png"};

bool is_image_name(const std::string& name) {
  const auto dot = name.rfind('.');
  if (dot == std::string::npos) return false;
  std::string extension = name.substr(dot);
  for (char& c : extension) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end();
}

/// What a directory holds, sorted by bytes.
struct Listing {
  std::vector<std::string> folders;
  std::vector<std::string> images;
  std::vector<std::string> others;
};

Listing list(const std::string& directory) {
  Listing listing;
  try {
    for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with('.')) continue;
      if (entry.is_directory()) {
        listing.folders.push_back(name);
      } else if (entry.is_regular_file() && is_image_name(name)) {
        listing.images.push_back(name);
      } else {
        listing.others.push_back(name);
      }
    }
  } catch (const fs::filesystem_error& error) {
    throw IoError(directory + ": cannot list", error.code().value());
  }
  std::sort(listing.folders.begin(), listing.folders.end());
  std::sort(listing.images.begin(), listing.images.end());
  std::sort(listing.others.begin(), listing.others.end());
  return listing;
}

void warn_of(const std::vector<std::string>& passed_over, const std::string& directory,
             std::string_view expected, Host& host) {
  if (passed_over.empty()) return;
  host.warn(text(directory, ": ", passed_over.size(), " entries are not read, as '",
                 passed_over.front(), "': ", expected, " belong here"));
}

}  // namespace

std::vector<ImageFile> list_images(const std::string& root, Host& host) {
  std::error_code error;
  if (!fs::is_directory(root, error)) {
    throw ConfigError(
        "root",
        text(root, ": ", error || !fs::exists(root, error) ? "does not exist" : "is no directory",
             ", must be a directory with one folder for each class"));
  }
  Listing classes = list(root);
  if (classes.folders.empty()) {
    throw ConfigError("root", text(root, ": has no folders, must have one for each class"));
  }
  classes.others.insert(classes.others.end(), classes.images.begin(), classes.images.end());
  warn_of(classes.others, root, "folders, one for each class,", host);

  std::vector<ImageFile> files;
  for (std::size_t label = 0; label < classes.folders.size(); ++label) {
    const std::string folder = (fs::path(root) / classes.folders[label]).string();
    Listing found = list(folder);
    if (found.images.empty()) {
      throw ConfigError("root", text(folder,
                                     ": has no images, must have at least one ending in "
                                     ".jpg, .jpeg or .png"));
    }
    found.others.insert(found.others.end(), found.folders.begin(), found.folders.end());
    warn_of(found.others, folder, "images ending in .jpg, .jpeg or .png", host);
    for (const std::string& name : found.images) {
      files.push_back({(fs::path(folder) / name).string(), static_cast<std::int32_t>(label)});
    }
  }
  if (files.size() > std::numeric_limits<std::uint32_t>::max()) {
    throw ConfigError("root",
                      text(root, ": has ", files.size(), " images, must be fewer than 2^32"));
  }
  return files;
}

}  // namespace slackline::image_folder
