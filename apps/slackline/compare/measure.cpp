#include "measure.h"

#include <slackline/file_ops.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "run_process.h"
#include "schedule.h"

namespace slackline::app {
namespace {

namespace fs = std::filesystem;

class Measuring {
 public:
  explicit Measuring(const MeasurePlan& plan) : plan_(plan) {}

  Measurements all(std::ostream& progress) {
    const int configurations = static_cast<int>(plan_.files.size());
    double all_once_s = 0;
    progress << "warm-up of each configuration, not counted:" << std::flush;
    for (int i = 0; i < configurations; ++i) {
      progress << " " << label_of(i) << std::flush;
      if (!run(i, -1, plan_.dir / "warmup" / label_of(i), out_.warmups)) {
        progress << "\n";
        return std::move(out_);
      }
      const MeasuredRun& warmup = out_.warmups.back();
      out_.resolved.push_back(contents_of(warmup.dir / "resolved.toml"));
      all_once_s += warmup.result.value("wall_time_s", 0.0);
    }
    progress << "\n"
             << plan_.blocks << " blocks of " << 2 * configurations << " runs, about "
             << std::ceil(2 * all_once_s * plan_.blocks) << " s\n";
    for (int block = 0; block < plan_.blocks; ++block) {
      progress << "block " << block + 1 << " of " << plan_.blocks << ", images/s:" << std::flush;
      int place = 1;
      for (const int i : block_order(block, configurations)) {
        const fs::path name = text(place++, "-", label_of(i));
        if (!run(i, block, plan_.dir / block_name(block) / name, out_.runs)) {
          progress << "\n";
          return std::move(out_);
        }
        progress << " " << label_of(i) << " " << images_per_s(out_.runs.back()) << std::flush;
      }
      progress << "\n";
    }
    return std::move(out_);
  }

 private:
  /// "block-07", so that names sort as the blocks ran.
  [[nodiscard]] std::string block_name(int block) const {
    const std::string number = std::to_string(block + 1);
    const std::size_t digits = std::max<std::size_t>(std::to_string(plan_.blocks).size(), 2);
    return "block-" + std::string(digits - number.size(), '0') + number;
  }

  static double images_per_s(const MeasuredRun& run) {
    return std::round(run.result.at("throughput").at("images_per_s").get<double>() * 10) / 10;
  }

  /// One process. False if the measuring ends here.
  bool run(int configuration, int block, const fs::path& dir, std::vector<MeasuredRun>& runs) {
    const std::string& file = plan_.files[static_cast<std::size_t>(configuration)];
    const std::string what = text("compare: ", block < 0 ? "warm-up" : text("block ", block + 1),
                                  ", run of ", label_of(configuration), " (", file, ")");
    FinishedRun ended = run_configuration(child_, file, plan_.set, dir, what);
    if (ended.exit_code != ExitCode::kOk) return stop(ended.exit_code, std::move(ended.problem));
    runs.push_back({configuration, block, dir, std::move(ended.result)});
    return true;
  }

  bool stop(ExitCode exit_code, std::string problem) {
    out_.exit_code = exit_code;
    out_.problem = std::move(problem);
    return false;
  }

  const MeasurePlan& plan_;
  ChildProcess child_;
  Measurements out_;
};

}  // namespace

std::string label_of(int configuration) {
  return std::string(1, static_cast<char>('A' + configuration));
}

Measurements measure(const MeasurePlan& plan, std::ostream& progress) {
  return Measuring(plan).all(progress);
}

}  // namespace slackline::app
