#include "process_group/launcher.h"

#include <slackline/error.h>
#include <slackline/machine.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu_shares.h"

namespace slackline::group {
namespace {

using Time = std::chrono::steady_clock::time_point;

/// A process that is killed or fails is missed before it can be waited for: others may notice, fail
/// and be found to have ended before it is.
constexpr std::chrono::seconds kCauseBehindEffect{1};

/// From SIGTERM until SIGKILL.
constexpr std::chrono::seconds kToEnd{1};

/// A new folder in which the ranks meet, removed with its object.
class MeetingPlace {
 public:
  MeetingPlace() {
    std::string name = std::filesystem::temp_directory_path() / "slackline-ranks-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw IoError("cannot make the folder " + name, errno);
    folder_ = name;
  }
  ~MeetingPlace() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  MeetingPlace(const MeetingPlace&) = delete;
  MeetingPlace& operator=(const MeetingPlace&) = delete;
  [[nodiscard]] std::string rendezvous() const { return "local:" + (folder_ / "rank_0").string(); }

 private:
  std::filesystem::path folder_;
};

/// Holds back the signals that the launcher waits for.
class HeldSignals {
 public:
  HeldSignals() {
    // Were SIGCHLD ignored, as some parents leave it, nobody could wait for a child.
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    ::sigaction(SIGCHLD, &standard, &child_action_before_);
    ::sigemptyset(&signals_);
    for (const int signal : {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGUSR1})
      ::sigaddset(&signals_, signal);
    ::pthread_sigmask(SIG_BLOCK, &signals_, &before_);
  }
  ~HeldSignals() {
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    ::sigaction(SIGCHLD, &child_action_before_, nullptr);
  }
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;

  [[nodiscard]] const sigset_t& before() const noexcept { return before_; }
  /// The next signal, or 0 at the deadline.
  [[nodiscard]] int wait(std::optional<Time> deadline) const {
    if (!deadline.has_value()) return std::max(0, ::sigwaitinfo(&signals_, nullptr));
    const auto left =
        std::max(std::chrono::nanoseconds(0),
                 std::chrono::nanoseconds(*deadline - std::chrono::steady_clock::now()));
    const timespec time{static_cast<time_t>(left.count() / 1'000'000'000),
                        static_cast<long>(left.count() % 1'000'000'000)};
    return std::max(0, ::sigtimedwait(&signals_, nullptr, &time));
  }

 private:
  sigset_t signals_{}, before_{};
  struct sigaction child_action_before_ {};
};

bool is_launchers(std::string_view variable) {
  for (const char* const prefix :
       {"SLACKLINE_RANK=", "SLACKLINE_SIZE=", "SLACKLINE_LOCAL_RANK=", "SLACKLINE_RENDEZVOUS=",
        "SLACKLINE_RUN=", "SLACKLINE_CPUS=", "OMPI_COMM_WORLD_",
        "PMI_RANK=", "PMI_SIZE=", "PMI_LOCAL_RANK=", "MPI_LOCALRANKID=", "SLURM_PROCID=",
        "SLURM_NTASKS=", "SLURM_LOCALID="}) {
    if (variable.rfind(prefix, 0) == 0) return true;
  }
  return false;
}

std::vector<std::string> environment_of(std::int32_t rank, std::int32_t size,
                                        const std::string& rendezvous, std::size_t cpus) {
  std::vector<std::string> result;
  for (char** at = environ; *at != nullptr; ++at) {
    if (!is_launchers(*at)) result.emplace_back(*at);
  }
  result.push_back(text("SLACKLINE_RANK=", rank));
  result.push_back(text("SLACKLINE_LOCAL_RANK=", rank));
  result.push_back(text("SLACKLINE_SIZE=", size));
  result.push_back("SLACKLINE_RENDEZVOUS=" + rendezvous);
  result.push_back(text("SLACKLINE_CPUS=", cpus));
  return result;
}

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> result;
  result.reserve(words.size() + 1);
  for (const std::string& word : words) result.push_back(const_cast<char*>(word.c_str()));
  result.push_back(nullptr);
  return result;
}

cpu_set_t mask_of(const std::vector<int>& cpus) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  for (const int cpu : cpus) CPU_SET(static_cast<std::size_t>(cpu), &mask);
  return mask;
}

/// Why a child has not become its command.
struct StartFailure {
  bool is_of_cpus = false;
  int error = 0;
};

/// Starts the command on those CPUs, in a process group of its own: a terminal's Ctrl-C then
/// reaches it once, from the launcher. Throws if it cannot be executed.
pid_t start(const std::vector<std::string>& command, const std::vector<std::string>& environment,
            const cpu_set_t& cpus, const sigset_t& signals) {
  const std::vector<char*> argv = pointers(command);
  const std::vector<char*> variables = pointers(environment);
  std::array<int, 2> failure{};  // closes when the command begins, or says why it does not
  if (::pipe2(failure.data(), O_CLOEXEC) != 0) throw IoError("cannot make a pipe", errno);
  const pid_t parent = ::getpid();
  const pid_t process = ::fork();
  if (process == 0) {
    // Only calls that are safe after a fork of a process with threads.
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    const int nothing = ::open("/dev/null", O_RDONLY);
    ::dup2(nothing, STDIN_FILENO);
    ::sigprocmask(SIG_SETMASK, &signals, nullptr);
    const bool has_cpus = ::sched_setaffinity(0, sizeof cpus, &cpus) == 0;
    if (has_cpus) ::execvpe(argv[0], argv.data(), variables.data());
    const StartFailure why{!has_cpus, errno};
    [[maybe_unused]] const auto written = ::write(failure[1], &why, sizeof why);
    ::_exit(127);
  }
  const int fork_error = errno;
  ::close(failure[1]);
  StartFailure why;
  const bool has_failed =
      process > 0 && ::read(failure[0], &why, sizeof why) == static_cast<ssize_t>(sizeof why);
  ::close(failure[0]);
  if (process < 0) throw IoError("cannot start a process", fork_error);
  if (!has_failed) return process;
  ::waitpid(process, nullptr, 0);
  if (why.is_of_cpus) throw IoError("cannot give a process its share of the CPUs", why.error);
  throw ConfigError(text("cannot execute '", command[0], "': ", std::strerror(why.error)));
}

/// Those that run.
class Children {
 public:
  Children() = default;
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;
  ~Children() {
    signal(SIGKILL);
    for (const pid_t process : processes_) {
      if (process > 0) ::waitpid(process, nullptr, 0);
    }
  }

  void add(pid_t process) { processes_.push_back(process); }
  [[nodiscard]] bool are_there() const {
    return std::any_of(processes_.begin(), processes_.end(), [](pid_t each) { return each > 0; });
  }
  void signal(int number) const {
    for (const pid_t process : processes_) {
      if (process > 0) ::kill(-process, number);
    }
  }

  [[nodiscard]] std::vector<std::size_t> running() const {
    std::vector<std::size_t> ranks;
    for (std::size_t i = 0; i < processes_.size(); ++i) {
      if (processes_[i] > 0) ranks.push_back(i);
    }
    return ranks;
  }

  /// Those that have ended since: rank and status.
  std::vector<std::pair<std::size_t, int>> ended() {
    std::vector<std::pair<std::size_t, int>> result;
    for (std::size_t i = 0; i < processes_.size(); ++i) {
      int status = 0;
      if (processes_[i] <= 0 || ::waitpid(processes_[i], &status, WNOHANG) != processes_[i])
        continue;
      processes_[i] = -1;
      result.emplace_back(i, status);
    }
    return result;
  }

 private:
  std::vector<pid_t> processes_;
};

/// How much the end of a rank tells of the cause, the least first.
enum class Sign {
  kWell,
  kInterrupted,    ///< it was asked to stop, as the others were, which may still be saving
  kMissesAnother,  ///< kInternal: maybe its own fault, but whoever misses a rank fails so
  kFailed,
  kKilled
};

Sign sign_of(int status) {
  if (WIFSIGNALED(status)) return Sign::kKilled;
  switch (static_cast<ExitCode>(WEXITSTATUS(status))) {
    case ExitCode::kOk:
      return Sign::kWell;
    case ExitCode::kInterrupted:
      return Sign::kInterrupted;
    case ExitCode::kInternal:
      return Sign::kMissesAnother;
    default:
      return Sign::kFailed;
  }
}

/// Finds out which rank is to blame.
class Verdict {
 public:
  explicit Verdict(std::int32_t size) : size_(size) {}

  /// Of a rank that has ended unasked.
  void ended(std::size_t rank, int status) {
    const Time now = std::chrono::steady_clock::now();
    const Sign sign = sign_of(status);
    if (sign <= sign_) return;
    if (!has_failed()) {
      first_failure_ = now;
    } else if (now - first_failure_ >= kCauseBehindEffect) {
      return;
    }
    rank_ = rank;
    status_ = status;
    sign_ = sign;
  }
  /// These ranks had their time, and are about to be killed.
  void has_to_kill(std::vector<std::size_t> ranks) {
    if (killed_.empty()) killed_ = std::move(ranks);
  }

  [[nodiscard]] bool has_failed() const { return sign_ > Sign::kInterrupted; }

  [[nodiscard]] LaunchEnd end() const {
    if (sign_ == Sign::kWell) return {};
    const std::string who = text("rank ", rank_, " of ", size_);
    if (sign_ == Sign::kKilled) {
      const int number = WTERMSIG(status_);
      return {128 + number,
              text(who, " was killed by signal ", number, " (", ::strsignal(number), ")")};
    }
    const int code = WEXITSTATUS(status_);
    std::string message = text(who, " failed with exit code ", code);
    if (sign_ == Sign::kMissesAnother && !killed_.empty()) {
      message = text(killed(), " did not end and had to be killed; before, ", message);
    }
    return {code, message};
  }

 private:
  [[nodiscard]] std::string killed() const {
    std::string ranks;
    for (const std::size_t rank : killed_) ranks += text(ranks.empty() ? "" : ", ", rank);
    return text(killed_.size() == 1 ? "rank " : "ranks ", ranks, " of ", size_);
  }

  const std::int32_t size_;
  std::size_t rank_ = 0;
  int status_ = 0;
  Sign sign_ = Sign::kWell;
  Time first_failure_{};  ///< if has_failed()
  std::vector<std::size_t> killed_;
};

}  // namespace

LaunchEnd launch(const LaunchPlan& plan) {
  const MeetingPlace place;
  const HeldSignals signals;
  Children ranks;
  const std::vector<int> cpus = own_cpus();
  const auto usable = static_cast<std::size_t>(usable_cpus());
  const auto shares = cpu_shares(cpus, static_cast<std::size_t>(plan.processes));
  for (std::int32_t rank = 0; rank < plan.processes; ++rank) {
    const std::vector<int>& share = shares[static_cast<std::size_t>(rank)];
    const std::size_t budget = cpu_budget(share.size(), usable, cpus.size());
    ranks.add(start(plan.command, environment_of(rank, plan.processes, place.rendezvous(), budget),
                    mask_of(share), signals.before()));
  }
  Verdict verdict(plan.processes);
  std::optional<Time> deadline;
  int next_signal = SIGTERM;
  while (ranks.are_there()) {
    const int signal = signals.wait(deadline);
    if (signal != 0 && signal != SIGCHLD) ranks.signal(signal);
    for (const auto& [rank, status] : ranks.ended()) {
      if (next_signal == SIGTERM) verdict.ended(rank, status);
    }
    if (!deadline.has_value() && verdict.has_failed()) {
      deadline = std::chrono::steady_clock::now() + plan.deadline;
    }
    if (deadline.has_value() && std::chrono::steady_clock::now() >= *deadline) {
      if (next_signal == SIGKILL) verdict.has_to_kill(ranks.running());
      ranks.signal(next_signal);
      next_signal = SIGKILL;
      deadline = std::chrono::steady_clock::now() + kToEnd;
    }
  }
  return verdict.end();
}

}  // namespace slackline::group
