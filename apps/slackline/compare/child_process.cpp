#include "child_process.h"

#include <slackline/error.h>

#include <cerrno>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace slackline::app {
namespace {

/// What posix_spawn() shall do before the program starts.
class SpawnPlan {
 public:
  SpawnPlan(const std::filesystem::path& dir, const sigset_t& mask) {
    posix_spawn_file_actions_init(&files_);
    posix_spawnattr_init(&attributes_);
    constexpr int kWrite = O_WRONLY | O_CREAT | O_TRUNC;
    posix_spawn_file_actions_addopen(&files_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files_, STDOUT_FILENO, (dir / "stdout.txt").c_str(), kWrite,
                                     0644);
    posix_spawn_file_actions_addopen(&files_, STDERR_FILENO, (dir / "stderr.txt").c_str(), kWrite,
                                     0644);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes_, &mask);
  }
  ~SpawnPlan() {
    posix_spawnattr_destroy(&attributes_);
    posix_spawn_file_actions_destroy(&files_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  [[nodiscard]] pid_t start(const std::vector<std::string>& arguments) const {
    std::vector<char*> argv = {const_cast<char*>("slackline")};
    for (const std::string& word : arguments) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    pid_t process = -1;
    // This very file, even if another has been installed over it since.
    const int failed =
        posix_spawn(&process, "/proc/self/exe", &files_, &attributes_, argv.data(), environ);
    if (failed != 0) throw IoError("cannot start a process of this program", failed);
    return process;
  }

 private:
  posix_spawn_file_actions_t files_{};
  posix_spawnattr_t attributes_{};
};

}  // namespace

ChildProcess::ChildProcess() {
  // Were SIGCHLD ignored, as some parents leave it, the end of a child could not be waited for.
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  sigaction(SIGCHLD, &standard, &child_action_before_);
  sigemptyset(&signals_);
  for (const int signal : {SIGCHLD, SIGINT, SIGTERM}) sigaddset(&signals_, signal);
  sigprocmask(SIG_BLOCK, &signals_, &mask_before_);
}

ChildProcess::~ChildProcess() {
  sigprocmask(SIG_SETMASK, &mask_before_, nullptr);
  sigaction(SIGCHLD, &child_action_before_, nullptr);
}

ProcessEnd ChildProcess::run(const std::vector<std::string>& arguments,
                             const std::filesystem::path& dir) {
  const pid_t process = SpawnPlan(dir, mask_before_).start(arguments);
  for (;;) {
    // Blocked signals stay pending, so none is lost between here and the check below.
    int signal = 0;
    sigwait(&signals_, &signal);
    if (signal != SIGCHLD) {
      ::kill(process, interrupted_ ? SIGKILL : SIGTERM);
      interrupted_ = true;
      continue;
    }
    int status = 0;
    if (::waitpid(process, &status, WNOHANG) != process) continue;
    if (WIFSIGNALED(status))
      return {.exit_code = 128 + WTERMSIG(status), .signal = WTERMSIG(status)};
    if (WIFEXITED(status)) return {.exit_code = WEXITSTATUS(status)};
  }
}

}  // namespace slackline::app
