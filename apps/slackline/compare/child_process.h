#pragma once

#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

namespace slackline::app {

/// How a process ended.
struct ProcessEnd {
  int exit_code = 0;
  int signal = 0;  ///< that killed it, or 0
};

/// Runs this program again and again, each time in a fresh process, one at a time.
///
/// Lifecycle  construct, then any number of run(). While it lives, SIGINT and SIGTERM to this
///            process end the child and set interrupted(); a second one kills the child.
/// Threads    only in a program with one thread.
/// Errors     IoError if a process cannot be started.
class ChildProcess {
 public:
  ChildProcess();
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// Runs `slackline <arguments>` and waits for its end. Its stdout and stderr go to the files
  /// stdout.txt and stderr.txt in `dir`, which exists; its stdin is empty.
  ProcessEnd run(const std::vector<std::string>& arguments, const std::filesystem::path& dir);

  /// Whether this process was told to stop.
  [[nodiscard]] bool interrupted() const { return interrupted_; }

 private:
  sigset_t signals_{}, mask_before_{};
  struct sigaction child_action_before_ {};
  bool interrupted_ = false;
};

}  // namespace slackline::app
