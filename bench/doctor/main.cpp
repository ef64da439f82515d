// Puts a delay of a known size into each stage in turn, lets `slackline doctor` look for it, and
// prints what it named, and how large.

#include <slackline/error.h>
#include <slackline/file_ops.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <sys/wait.h>

namespace {

using nlohmann::json;
using namespace slackline;
namespace fs = std::filesystem;

/// Input that costs nothing, on a device of 5 ms a step. 2 workers, 16 images a step: 4 ms an image
/// in a worker are 32 ms a step, and 64 where workers take turns.
constexpr const char* kConfig = R"(
[input]
batch_size = 16
image_size = [32, 32]
num_classes = 10
workers = 2
replay_records = 64

[source]
plugin = "slow_source"

[[transform]]
plugin = "slow_decode"

[[transform]]
plugin = "slow_augment"

[prefetcher]
plugin = "plain"

)";
constexpr const char* kEmulated = R"([model]
plugin = "emulated"
step_time = "5ms"
launch_time = "100us"
launches = 1
start_uploads = 0

[strategy]
plugin = "emulated"
upload_bandwidth = "100GB"
upload_latency = "0s"
)";
constexpr const char* kLaunching = R"([model]
plugin = "trivial"

[strategy]
plugin = "slow_launch"
step = "5ms"
)";

struct Injection {
  const char* stage;   ///< as doctor calls it
  const char* device;  ///< the rest of the configuration
  const char* set;     ///< what puts it there
  double size_ms;
  bool is_per_image;  ///< else per step
};

constexpr std::array kInjections = {
    Injection{"fetch", kEmulated, "--set 'source.fetch=\"4ms\"'", 4, true},
    Injection{"CRC and parse", kEmulated, "--set 'transform[0].parse=\"4ms\"'", 4, true},
    Injection{"decode", kEmulated, "--set 'transform[0].decode=\"4ms\"'", 4, true},
    Injection{"augment", kEmulated, "--set 'transform[1].delay=\"4ms\"'", 4, true},
    Injection{"batch", kEmulated, "--set 'source.give_back=\"4ms\"'", 4, true},
    Injection{"upload", kEmulated, "--set 'strategy.upload_latency=\"20ms\"'", 20, false},
    Injection{"launch contention", kLaunching, "--set 'strategy.contention=\"20ms\"'", 20, false},
    Injection{"straggler", kEmulated,
              "--set strategy.devices=2 --set strategy.slow_device=1 --set strategy.slow_factor=5",
              20, false},
};

/// A folder that is removed at the end.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "slackline-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw IoError(name + ": cannot create", errno);
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// The first judgement of a doctor.
json diagnose(const Injection& injection, double seconds, int rounds) {
  const Folder folder;
  std::ofstream(folder.path() / "slow.toml") << kConfig << injection.device;
  const std::string command =
      text("cd '", folder.path().string(), "' && SLACKLINE_PLUGIN_PATH='", SLACKLINE_SLOW_PLUGINS,
           "' '", SLACKLINE_PROGRAM, "' doctor slow.toml ", injection.set, " --seconds ", seconds,
           " --rounds ", rounds, " --json - 2>err");
  const std::string result = (folder.path() / "result.json").string();
  const int status = std::system((command + " >'" + result + "'").c_str());
  if (status != 0) {
    std::ifstream err(folder.path() / "err");
    throw PluginError(text("doctor failed on '", injection.stage, "':\n",
                           std::string(std::istreambuf_iterator<char>(err), {})));
  }
  std::ifstream in(result);
  return json::parse(in).at("judgements").at(0);
}

/// Returns whether the stage was named and its size is right.
bool print_row(const Injection& injection, const json& found) {
  const json& limiting = found.at("limiting");
  const json& size = limiting.at(injection.is_per_image ? "ms_per_image" : "ms_per_step");
  const std::string named = limiting.at("stage");
  const double named_ms = size.is_number() ? size.get<double>() : 0;
  const double error = named_ms / injection.size_ms - 1;
  const double model_error =
      found.at("model").at("step_ms").get<double>() / found.at("step_ms").get<double>() - 1;
  std::printf("| %s | %.1f ms %s | %s | %.2f ms | %+.1f %% | %.1f | %.1f | %+.1f %% |\n",
              injection.stage, injection.size_ms, injection.is_per_image ? "an image" : "a step",
              named.c_str(), named_ms, 100 * error, found.at("step_ms").get<double>(),
              found.at("step_ms_without").get<double>(), 100 * model_error);
  std::fflush(stdout);
  return named == injection.stage && std::abs(error) <= 0.1;
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 1;
  int rounds = 5;
  CLI::App program("delays of a known size, and what doctor says of them", "doctor_injection");
  program.add_option("--seconds", seconds, "as of doctor")->capture_default_str();
  program.add_option("--rounds", rounds, "as of doctor")->capture_default_str();
  CLI11_PARSE(program, argc, argv);
  try {
    std::printf(
        "| injected into | size | named | size | error | step ms | without it | model's error |\n"
        "|---|---|---|---|---|---|---|---|\n");
    int wrong = 0;
    for (const Injection& injection : kInjections) {
      if (!print_row(injection, diagnose(injection, seconds, rounds))) ++wrong;
    }
    std::printf("\n%d of %zu stages were not named, or are more than 10 %% off\n", wrong,
                kInjections.size());
    return wrong == 0 ? 0 : 1;
  } catch (const Error& error) {
    std::fprintf(stderr, "doctor_injection: %s\n", error.what());
    return static_cast<int>(error.exit_code());
  }
}
