#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace slackline::group {

/// Which process of a run this one is, and where the processes of the run meet.
struct Membership {
  std::int32_t rank = 0;  ///< 0..size-1
  std::int32_t size = 1;
  bool is_launched = false;                ///< by a launcher, which says so
  std::string size_variable;               ///< of the environment, where it says so
  std::optional<std::int32_t> local_rank;  ///< among those of this host, if the launcher says
  std::string rendezvous;  ///< tcp://host:port, where rank 0 listens, file:/path, or local:/path if
                           ///< all are on one host; empty if alone
  std::string run;         ///< tells this run from others at the same place; may be empty
};

/// More would need more sockets than a process may usually have: three for each other rank.
inline constexpr std::int32_t kMaxRanks = 256;

/// The value of an environment variable, or null.
using Environment = std::function<const char*(const char* name)>;

/// What the launcher says through the environment. The first of these that is there counts:
///
///   slackline          SLACKLINE_RANK, SLACKLINE_SIZE, SLACKLINE_LOCAL_RANK
///   Open MPI           OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE, OMPI_COMM_WORLD_LOCAL_RANK
///   MPICH, Cray (PMI)  PMI_RANK, PMI_SIZE, MPI_LOCALRANKID or PMI_LOCAL_RANK
///   Slurm's srun       SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID
///
/// SLACKLINE_RENDEZVOUS says where to meet, and SLACKLINE_RUN (under srun SLURM_JOB_ID and
/// SLURM_STEP_ID) tells runs apart. Ranks that Open MPI starts on one host need neither: they meet
/// in the folder of its job. Without any launcher, the process is alone: rank 0 of 1.
///
/// Errors     ConfigError naming variable and value: no number, out of range, one of a pair,
///            several ranks without a place to meet that makes sense, or two launchers that
///            disagree. Only Slurm may disagree with the others: mpirun in a Slurm job hands down
///            the variables of the job's script, or of the daemon that starts the ranks.
[[nodiscard]] Membership membership_from(const Environment& environment);
[[nodiscard]] Membership membership_from_environment();

/// The same for a program that will not meet the others: SLACKLINE_RENDEZVOUS is not looked at.
[[nodiscard]] Membership launched_as(const Environment& environment);
[[nodiscard]] Membership launched_as_environment_says();

}  // namespace slackline::group
