#include <slackline/error.h>

#include <cerrno>
#include <cstring>

namespace slackline {

// Destructors are out of line so that each class has one vtable and one type name, here in core,
// whichever library throws or catches it.
Error::~Error() = default;
ConfigError::~ConfigError() = default;
PluginError::~PluginError() = default;
DataError::~DataError() = default;
DeviceError::~DeviceError() = default;
IoError::~IoError() = default;

ExitCode Error::exit_code() const noexcept { return ExitCode::kInternal; }
ExitCode ConfigError::exit_code() const noexcept { return ExitCode::kConfiguration; }
ExitCode DataError::exit_code() const noexcept { return ExitCode::kBadData; }

IoError::IoError(const std::string& doing, int error_number)
    : Error(text(doing, ": ", std::strerror(error_number))), error_number_(error_number) {}

ExitCode IoError::exit_code() const noexcept {
  return error_number_ == EACCES || error_number_ == EPERM ? ExitCode::kPermission : ExitCode::kIo;
}

}  // namespace slackline
