#pragma once

#include <slackline/export.h>

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace slackline {

/// Joins its arguments as `operator<<` prints them: text("step ", 7, " of ", 9).
template <class... Parts>
[[nodiscard]] std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

/// What the program returns to the shell. The numbers are those of BSD's sysexits.h.
enum class ExitCode : int {
  kOk = 0,
  kNo = 1,              ///< the work was done and the answer is no: runs differ, one is slower
  kUsage = 64,          ///< the command line makes no sense
  kBadData = 65,        ///< a dataset or a checkpoint is damaged
  kInternal = 70,       ///< a plugin or slackline itself failed
  kIo = 74,             ///< the system refused to read or write
  kInterrupted = 75,    ///< stopped by a signal; results so far are written
  kPermission = 77,     ///< not allowed to read or write something
  kConfiguration = 78,  ///< the TOML file cannot be run
};

/// A run that cannot go on. Plugins throw only the classes below: an exception type of their own
/// would need its code to stay loaded. Ordinary ends (no more data) are values, not exceptions.
///
/// A message says where, what, with the value, and what would be right; lower case, no full stop.
class SLACKLINE_API Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  ~Error() override;
  [[nodiscard]] virtual ExitCode exit_code() const noexcept;
};

/// The configuration asks for something impossible. `option()` names the option at fault, so that
/// the message can point at its line; empty if no single option is.
class SLACKLINE_API ConfigError final : public Error {
 public:
  explicit ConfigError(const std::string& message) : Error(message) {}
  ConfigError(std::string option, const std::string& message)
      : Error(message), option_(std::move(option)) {}
  ~ConfigError() override;
  [[nodiscard]] ExitCode exit_code() const noexcept override;
  [[nodiscard]] const std::string& option() const noexcept { return option_; }

 private:
  std::string option_;
};

/// A plugin cannot be found, loaded or used, or broke its promise.
class SLACKLINE_API PluginError final : public Error {
 public:
  using Error::Error;
  ~PluginError() override;
};

/// A record is damaged. `key()` names the part of the record at fault ("image/encoded", "length"),
/// if one is; whoever knows file and offset adds them.
class SLACKLINE_API DataError final : public Error {
 public:
  explicit DataError(const std::string& message) : Error(message) {}
  DataError(std::string key, const std::string& message) : Error(message), key_(std::move(key)) {}
  ~DataError() override;
  [[nodiscard]] ExitCode exit_code() const noexcept override;
  [[nodiscard]] const std::string& key() const noexcept { return key_; }

 private:
  std::string key_;
};

/// A device failed: which call, which device, the driver's reason.
class SLACKLINE_API DeviceError final : public Error {
 public:
  using Error::Error;
  ~DeviceError() override;
};

/// The system refused to open, read or write. Carries errno, which decides the exit code.
class SLACKLINE_API IoError final : public Error {
 public:
  /// "`doing`: <text of `error_number`>", for instance doing = "/data/x: cannot open".
  IoError(const std::string& doing, int error_number);
  ~IoError() override;
  [[nodiscard]] ExitCode exit_code() const noexcept override;
  [[nodiscard]] int error_number() const noexcept { return error_number_; }

 private:
  int error_number_;
};

}  // namespace slackline
