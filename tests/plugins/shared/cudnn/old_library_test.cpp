// A cuDNN that is too old is named, whatever is asked of it. This program has a version of its own,
// and everything else of cuDNN as it is.

#include <slackline/error.h>

#include <cstddef>
#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "absent_gpus.h"
#include "cudnn/target.h"

extern "C" std::size_t cudnnGetVersion() { return 90701; }

namespace slackline::cudnn {
namespace {

constexpr const char* kWhy = "cuDNN 9.7.1 is loaded, and 9.8 or later is needed";

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "no error";
}

TEST(OldLibraryTest, IsNamedByAllThatNeedsItWithWhatWouldDo) {
  EXPECT_EQ(why_unavailable(), kWhy);
  EXPECT_EQ(error_of([] { (void)Target::of_device(); }), kWhy);
  EXPECT_EQ(error_of([] { (void)testing_support::absent("h200"); }), kWhy);
}

}  // namespace
}  // namespace slackline::cudnn
