#include <slackline/config.h>
#include <slackline/error.h>
#include <slackline/registry.h>
#include <slackline/run.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

#include "process_group/launcher.h"
#include "process_group/membership.h"
#include "verbs.h"

namespace slackline::app {
namespace {

/// Turns the first SIGINT or SIGTERM into a request to stop, and lets a second end the process.
///
/// What comes within kSameRequest of the first is the same request once more: a job's or service's
/// signal reaches a rank from whoever ends all of its processes, and from the launcher, too.
/// SIGUSR1 only asks for a stop, however often: schedulers send it ahead of the signal that ends a
/// job.
///
/// The signals are blocked in every thread and taken by one that waits for them, so that stopping
/// may do more than a signal handler is allowed to. Make it before any other thread.
class SignalWatch {
 public:
  SignalWatch() {
    sigemptyset(&signals_);
    for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaddset(&signals_, signal);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    thread_ = std::thread([this] { watch(); });
  }
  ~SignalWatch() {
    is_over_ = true;
    pthread_kill(thread_.native_handle(), SIGUSR1);  // only wakes it
    thread_.join();
  }
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  [[nodiscard]] std::stop_token token() const { return source_.get_token(); }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kSameRequest{1};

  void watch() {
    std::optional<Clock::time_point> first;
    for (;;) {
      int signal = 0;
      if (sigwait(&signals_, &signal) != 0 || is_over_) return;
      source_.request_stop();
      if (signal == SIGUSR1) continue;
      if (!first.has_value()) first = Clock::now();
      if (Clock::now() - *first >= kSameRequest) ::_exit(128 + signal);
    }
  }

  sigset_t signals_{};
  std::stop_source source_;
  std::atomic<bool> is_over_{false};
  std::thread thread_;
};

/// The processes that the strategy wants. A library that it uses may start threads: they take no
/// signals, which others wait for.
RankPlan plan_ranks(const Config& config) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  struct Restored {
    const sigset_t& mask;
    ~Restored() { pthread_sigmask(SIG_SETMASK, &mask, nullptr); }
  } const restored{before};
  return planned_ranks(config);
}

/// Starts this program once for each rank, and waits for all of them. The exit code is that of the
/// rank to blame.
ExitCode start_ranks(std::vector<std::string> command, std::int32_t processes) {
  command.front() = std::filesystem::read_symlink("/proc/self/exe");
  const group::LaunchEnd end =
      group::launch({.command = std::move(command), .processes = processes});
  const auto code = static_cast<ExitCode>(end.exit_code);
  if (code != ExitCode::kOk && code != ExitCode::kInterrupted) {
    std::cerr << "slackline: " << end.message << "\n";
  }
  return code;
}

/// A strategy of one process in each process of a launcher would train as often, each alone.
void require_one_process(const Config& config) {
  const group::Membership launched = group::launched_as_environment_says();
  if (launched.size == 1) return;
  throw config.locate(
      config.strategy.table,
      ConfigError(text(config.strategy.plugin->id(),
                       " trains in one process, but a launcher started ", launched.size, " (",
                       launched.size_variable,
                       "), each of which would train alone; "
                       "multi_worker and mirrored_nccl train in several. For runs apart, unset the "
                       "launcher's variables")));
}

}  // namespace

ExitCode run_verb(const RunArguments& arguments) {
  const std::string& resume = arguments.resume;
  Registry registry(Registry::default_search_path());
  const std::filesystem::path file = arguments.config.file.empty()
                                         ? std::filesystem::path(resume) / "resolved.toml"
                                         : std::filesystem::path(arguments.config.file);
  const Config config = Config::load({file, arguments.config.set}, registry);
  if (const RankPlan ranks = plan_ranks(config); !ranks.is_launched) {
    return start_ranks(arguments.command, ranks.size);
  } else if (ranks.size == 1) {
    require_one_process(config);
  }
  const SignalWatch signals;
  RunControl control{.out = std::cout,
                     .is_terminal = ::isatty(STDOUT_FILENO) == 1,
                     .stop = signals.token(),
                     .dir = resume.empty() ? arguments.dir : resume,
                     .resume = !resume.empty(),
                     .resume_anyway = arguments.resume_anyway};
  const RunOutcome outcome = run(config, control);
  if (outcome.exit_code == ExitCode::kInterrupted && outcome.rank == 0) {
    std::cout << "interrupted after " << outcome.steps << " steps; "
              << (outcome.is_resumable
                      ? "to go on: slackline run --resume " + outcome.dir.string()
                      : "it cannot go on: its configuration has no table [checkpoint]")
              << "\n";
  }
  return outcome.exit_code;
}

ExitCode check_verb(const ConfigArguments& arguments) {
  Registry registry(Registry::default_search_path());
  const Config config = Config::load({arguments.file, arguments.set}, registry);
  check(config);
  std::cout << arguments.file << ": ok\n";
  return ExitCode::kOk;
}

ExitCode show_verb(const ConfigArguments& arguments, bool origins) {
  Registry registry(Registry::default_search_path());
  std::cout << Config::load({arguments.file, arguments.set}, registry).to_toml(origins);
  return ExitCode::kOk;
}

}  // namespace slackline::app
