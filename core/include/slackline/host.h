#pragma once

#include <slackline/clock.h>
#include <slackline/export.h>
#include <slackline/trace.h>

#include <string_view>

namespace slackline {

/// What the running program offers a plugin, given to its constructor: `Plugin(Options, Host&)`.
///
/// Threads    any.
class SLACKLINE_API Host {
 public:
  virtual ~Host();

  /// A derived setting or a measurement that belongs into the results under the plugin's name, as
  /// it really was. The last value of a name counts. `unit` may be empty.
  virtual void report(std::string_view name, double value, std::string_view unit) = 0;

  /// Something the user should know that is no error: shown once, and kept with the results.
  virtual void warn(std::string_view message) = 0;

  /// What to sleep, wait and start threads with, so that a plugin can be tested and studied in
  /// simulated time.
  [[nodiscard]] virtual Clock& clock() = 0;

  /// The track of this name in the run's timeline, made if there is none yet: "host prefetch",
  /// "device 0 upload". The name is the whole name: it should tell the device.
  [[nodiscard]] virtual TraceTrack& track(std::string_view name) = 0;
};

}  // namespace slackline
