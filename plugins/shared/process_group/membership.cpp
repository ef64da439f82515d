#include "process_group/membership.h"

#include <slackline/error.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <string_view>

#include "rendezvous.h"

namespace slackline::group {
namespace {

/// The variables of one launcher.
///
/// Open MPI's: https://docs.open-mpi.org/en/v5.0.x/tuning-apps/environment-var.html. PMI_RANK and
/// PMI_SIZE: PMI-1, which MPICH's Hydra and Cray's PALS set; the rank on the host is
/// MPI_LOCALRANKID with Hydra, PMI_LOCAL_RANK with PALS. Slurm's: srun(1), OUTPUT ENVIRONMENT
/// VARIABLES. The folder, which the ranks of a host share and no other job has, is PMIx's
/// (PMIX_SERVER_TMPDIR, pmix_common.h), which Open MPI starts its ranks by since version 4.
struct Launcher {
  const char* rank;
  const char* size;
  std::array<const char*, 2> local_rank;
  const char* local_size = nullptr;
  const char* folder = nullptr;
};

constexpr Launcher kOurs{"SLACKLINE_RANK", "SLACKLINE_SIZE", {"SLACKLINE_LOCAL_RANK", nullptr}};
constexpr Launcher kOpenMpi{"OMPI_COMM_WORLD_RANK",
                            "OMPI_COMM_WORLD_SIZE",
                            {"OMPI_COMM_WORLD_LOCAL_RANK", nullptr},
                            "OMPI_COMM_WORLD_LOCAL_SIZE",
                            "PMIX_SERVER_TMPDIR"};
constexpr Launcher kPmi{"PMI_RANK", "PMI_SIZE", {"MPI_LOCALRANKID", "PMI_LOCAL_RANK"}};
constexpr Launcher kSlurm{"SLURM_PROCID", "SLURM_NTASKS", {"SLURM_LOCALID", nullptr}};

std::string value_of(const Environment& environment, const char* name) {
  const char* const value = environment(name);
  return value == nullptr ? "" : value;
}

/// Of a variable that is set.
std::int32_t number(const Environment& environment, const char* name, std::int32_t least,
                    std::int32_t most) {
  const std::string value = environment(name);
  std::int32_t result = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
  if (error != std::errc{} || end != value.data() + value.size() || result < least ||
      result > most) {
    throw ConfigError(text("environment variable ", name, " is '", value,
                           "'; it must be a number in ", least, "..", most));
  }
  return result;
}

std::optional<Membership> read(const Environment& environment, const Launcher& launcher) {
  const bool has_rank = environment(launcher.rank) != nullptr;
  const bool has_size = environment(launcher.size) != nullptr;
  if (!has_rank && !has_size) return std::nullopt;
  if (!has_rank || !has_size) {
    const char* const present = has_rank ? launcher.rank : launcher.size;
    throw ConfigError(text("environment variable ", present, " is '", environment(present),
                           "', but ", has_rank ? launcher.size : launcher.rank,
                           " is not set; a launcher sets both"));
  }
  Membership result;
  result.is_launched = true;
  result.size_variable = launcher.size;
  result.size = number(environment, launcher.size, 1, kMaxRanks);
  result.rank = number(environment, launcher.rank, 0, result.size - 1);
  for (const char* const name : launcher.local_rank) {
    if (name == nullptr || environment(name) == nullptr) continue;
    result.local_rank = number(environment, name, 0, result.size - 1);
    break;
  }
  if (result.size > 1 && launcher.folder != nullptr && environment(launcher.folder) != nullptr &&
      value_of(environment, launcher.local_size) == environment(launcher.size)) {
    result.rendezvous = text("local:", environment(launcher.folder), "/slackline");
  }
  return result;
}

[[noreturn]] void throw_disagreement(const Environment& environment, const Launcher& first,
                                     const Launcher& second) {
  const auto says = [&](const Launcher& launcher) {
    return text(launcher.rank, "=", environment(launcher.rank), " ", launcher.size, "=",
                environment(launcher.size));
  };
  throw ConfigError(text("the environment has ", says(first), ", but also ", says(second),
                         ": two launchers that disagree; unset the variables of one"));
}

/// Slurm also sets its variables for the script of a batch job, which is no task of a step: there
/// is no SLURM_STEP_ID.
std::optional<Membership> read_slurm(const Environment& environment) {
  if (environment("SLURM_STEP_ID") == nullptr) return std::nullopt;
  // In a step of its own, `salloc` or `srun --pty` may have a rank without a number of tasks.
  if (environment(kSlurm.size) == nullptr) return std::nullopt;
  auto result = read(environment, kSlurm);
  result->run = text(value_of(environment, "SLURM_JOB_ID"), ".", environment("SLURM_STEP_ID"));
  return result;
}

}  // namespace

Membership launched_as(const Environment& environment) {
  std::optional<Membership> result;
  const Launcher* source = nullptr;
  for (const Launcher* const launcher : {&kOurs, &kOpenMpi, &kPmi}) {
    auto found = read(environment, *launcher);
    if (!found.has_value()) continue;
    if (!result.has_value()) {
      result = std::move(found);
      source = launcher;
    } else if (found->rank != result->rank || found->size != result->size) {
      throw_disagreement(environment, *source, *launcher);
    }
  }
  if (!result.has_value()) result = read_slurm(environment);
  return result.value_or(Membership{});
}

Membership membership_from(const Environment& environment) {
  Membership result = launched_as(environment);
  if (environment("SLACKLINE_RENDEZVOUS") != nullptr) {
    result.rendezvous = environment("SLACKLINE_RENDEZVOUS");
  }
  if (environment("SLACKLINE_RUN") != nullptr) result.run = environment("SLACKLINE_RUN");
  if (result.size > 1 && result.rendezvous.empty()) {
    throw ConfigError(text("this process is rank ", result.rank, " of ", result.size,
                           ", but the environment variable SLACKLINE_RENDEZVOUS does not say where "
                           "the ranks meet: tcp://host:port (of rank 0), file:/path (on a file "
                           "system that all share) or local:/path (all on one host)"));
  }
  if (result.size > 1) static_cast<void>(parse_place(result.rendezvous));
  return result;
}

namespace {
const char* own_environment(const char* name) { return std::getenv(name); }
}  // namespace

Membership membership_from_environment() { return membership_from(own_environment); }
Membership launched_as_environment_says() { return launched_as(own_environment); }

}  // namespace slackline::group
