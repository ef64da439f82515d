#include "logs/event_file.h"

#include <cmath>
#include <limits>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "event_reader.h"
#include "temporary_folder.h"

namespace slackline {
namespace {

using testing_support::read_events;
using testing_support::ReadEvent;

std::string hex_of(const std::string& bytes) {
  std::string out;
  for (const char byte : bytes) {
    static constexpr const char* kDigits = "0123456789abcdef";
    out += kDigits[static_cast<unsigned char>(byte) >> 4];
    out += kDigits[static_cast<unsigned char>(byte) & 15];
  }
  return out;
}

// The expected bytes are those of TensorBoard 2.21's own protobuf classes and RecordWriter.

TEST(EventFileTest, EventsAreToTheByteThoseOfTensorBoardsOwnClasses) {
  EXPECT_EQ(hex_of(file_version_event(1.5)), "09000000000000f83f1a0d627261696e2e4576656e743a32");
  EXPECT_EQ(hex_of(session_start_event({.unix_s = 1.5, .step = 300})),
            "09000000000000f83f10ac023a020801");
  EXPECT_EQ(hex_of(scalars_event({.unix_s = 1.5, .step = 300},
                                 {{"loss", 0.25}, {"validation/accuracy", -2.0}})),
            "09000000000000f83f10ac022a550a210a046c6f7373420a080112002a040000803e4a0d0a090a07736361"
            "6c61727320010a300a1376616c69646174696f6e2f6163637572616379420a080112002a04000000c04a0d"
            "0a090a077363616c6172732001");
}

TEST(EventFileTest, AFrameIsToTheByteThatOfTensorBoardsRecordWriter) {
  EXPECT_EQ(hex_of(tfrecord_frame("brain.Event:2")),
            "0d000000000000003c37b834627261696e2e4576656e743a32ee01067c");
}

TEST(EventFileTest, TheFileIsWholeAfterEveryAppend) {
  const testing_support::TemporaryFolder folder;
  const auto path = folder.path() / "events";
  EventFile file(system_file_ops(), path, {.unix_s = 17.25, .step = 1});
  ASSERT_EQ(read_events(path).size(), 2u);
  EXPECT_EQ(read_events(path)[0].file_version, "brain.Event:2");
  EXPECT_EQ(read_events(path)[0].wall_time, 17.25);
  EXPECT_TRUE(read_events(path)[1].is_session_start);
  for (std::int64_t step = 1; step < 400; ++step) {
    file.append(scalars_event({.unix_s = 17.5, .step = step}, {{"loss", 1.0 / double(step)}}));
    const auto events = read_events(path);
    ASSERT_EQ(events.size(), static_cast<std::size_t>(step + 2));
    EXPECT_EQ(events.back().step, step);
    EXPECT_EQ(events.back().scalars.at("loss"), static_cast<float>(1.0 / double(step)));
  }
}

TEST(EventFileTest, StepsAndValuesMayBeAnything) {
  const testing_support::TemporaryFolder folder;
  const auto path = folder.path() / "events";
  EventFile file(system_file_ops(), path, {.unix_s = 0, .step = 1});
  const std::int64_t far = std::numeric_limits<std::int64_t>::max();
  file.append(scalars_event({.unix_s = 1, .step = far},
                            {{std::string(300, 'x'), 1e300}, {"loss", std::nan("")}}));
  const ReadEvent event = read_events(path).back();
  EXPECT_EQ(event.step, far);
  EXPECT_TRUE(std::isinf(event.scalars.at(std::string(300, 'x'))));
  EXPECT_TRUE(std::isnan(event.scalars.at("loss")));
}

TEST(EventFileTest, NamesAreWhatTensorBoardLooksForAndNeverTwiceTheSame) {
  const std::string first = event_file_name(1795578887.9, "box");
  EXPECT_THAT(first, testing::MatchesRegex("events\\.out\\.tfevents\\.1795578887\\.box\\.[0-9]+\\."
                                           "[0-9]+\\.v2"));
  EXPECT_NE(event_file_name(1795578887.9, "box"), first);
}

}  // namespace
}  // namespace slackline
