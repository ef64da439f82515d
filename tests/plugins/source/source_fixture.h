#pragma once

// A fixture for sources: a folder of the test's own, and a source that is read as text.

#include <slackline/error.h>
#include <slackline/source.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "test_host.h"

namespace slackline::testing_support {

class SourceTest : public ::testing::Test {
 protected:
  explicit SourceTest(std::string plugin) : plugin_(std::move(plugin)) {
    std::string pattern = (std::filesystem::temp_directory_path() / "slackline-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw IoError(pattern, errno);
    folder_ = pattern;
  }
  ~SourceTest() override {
    source_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  /// The full path of a file of this test.
  [[nodiscard]] std::string path(const std::string& name) const {
    return (folder_ / name).string();
  }

  /// Writes a file, with the folders that it needs. Always a new one: some file systems write one
  /// that was emptied and filled again to the disk at once, which tests of many damages feel.
  void write(const std::string& name, std::string_view contents) const {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::filesystem::remove(folder_ / name);
    std::ofstream(folder_ / name, std::ios::binary) << contents;
  }

  void open(const OptionArguments& options) {
    source_.reset();
    source_ = make_plugin<Source>(plugin_, options, host_);
  }
  void start(const EpochPlan& plan = {.seed = 1}) { source_->start_epoch(plan); }

  /// The next record's bytes, the text of the error in its place, or "end". The path of this
  /// test's folder is taken out of errors.
  std::string read() {
    try {
      Record record;
      if (!source_->next(record)) return "end";
      std::string bytes(reinterpret_cast<const char*>(record.bytes.data()), record.bytes.size());
      source_->give_back(record);
      return bytes;
    } catch (const Error& error) {
      return without_folder(error.what());
    }
  }

  /// All records and errors up to the end of the epoch.
  std::vector<std::string> read_all(const EpochPlan& plan = {.seed = 1}) {
    start(plan);
    std::vector<std::string> all;
    for (std::string one = read(); one != "end"; one = read()) all.push_back(std::move(one));
    return all;
  }

  /// Why a source cannot be made, or an epoch not be started, and in front of it the option that
  /// is to blame; "" if it works.
  std::string refusal(const OptionArguments& options, const EpochPlan& plan = {}) {
    try {
      open(options);
      start(plan);
      return "";
    } catch (const ConfigError& error) {
      return error.option() + ": " + without_folder(error.what());
    } catch (const Error& error) {
      return without_folder(error.what());
    }
  }

  [[nodiscard]] std::string without_folder(std::string message) const {
    const std::string folder = folder_.string() + "/";
    for (auto at = message.find(folder); at != std::string::npos; at = message.find(folder)) {
      message.erase(at, folder.size());
    }
    return message;
  }

  Source& source() { return *source_; }
  TestHost& host() { return host_; }

 private:
  std::string plugin_;
  std::filesystem::path folder_;
  TestHost host_;
  std::unique_ptr<Source> source_;
};

}  // namespace slackline::testing_support
