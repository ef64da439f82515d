#pragma once

#include <filesystem>
#include <string>

namespace slackline {

/// Why a file cannot be loaded as a plugin's library, found without running any of its code; empty
/// if nothing speaks against it. "is not an ELF file", "is cut off: …", ….
///
/// A library that was cut off must not reach the loader, which maps it and dies of SIGBUS.
std::string problem_of_library(const std::filesystem::path& file);

/// The loader's words about `file`: without the file's name, and with C++ symbols as they are
/// written in a program.
std::string readable_loader_text(const std::filesystem::path& file, std::string words);

}  // namespace slackline
