#pragma once

// TensorBoard's event files: records in TFRecord's frames, each a tensorflow.Event.

#include <slackline/file_ops.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace slackline {

/// A number with its name in TensorBoard.
struct Scalar {
  std::string tag;  ///< "loss", "validation/loss"
  double value = 0;
};

/// What all events have.
struct EventTime {
  double unix_s = 0;
  std::int64_t step = 0;
};

/// tensorflow.Event messages, as bytes.
[[nodiscard]] std::string file_version_event(double unix_s);
/// Says that `time.step` is trained next. Readers drop the points that earlier files of the
/// directory have from there on, if those files had such an event too.
[[nodiscard]] std::string session_start_event(const EventTime& time);
/// Each scalar a float tensor without dimensions, marked as of the plugin "scalars".
[[nodiscard]] std::string scalars_event(const EventTime& time, const std::vector<Scalar>& scalars);

/// `bytes` as a TFRecord: length, its checksum, bytes, their checksum.
[[nodiscard]] std::string tfrecord_frame(std::string_view bytes);

/// "events.out.tfevents.<unix seconds>.<host>.<pid>.<n>.v2"; no second one of this process is
/// equal.
[[nodiscard]] std::string event_file_name(double unix_s, const std::string& host);

/// A new event file, which begins with its version and the start of its session. Whole records
/// reach the system, one write each, so a killed run leaves a file that can be read.
class EventFile {
 public:
  /// `start` has the first step that is told of. Throws IoError.
  EventFile(FileOps& files, const std::filesystem::path& path, const EventTime& start);

  void append(std::string_view event) { file_.append(tfrecord_frame(event)); }

 private:
  LineFile file_;  ///< whose lines are records
};

}  // namespace slackline
