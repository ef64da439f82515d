#pragma once

#include <cstddef>

#include <nccl.h>

namespace slackline::nccl {

/// What is used of NCCL, as a seam: the real one, or one that fails when a test wants it to. The
/// functions are NCCL's; none of them waits on a communicator that is not blocking, but destroy()
/// and abort().
///
/// Threads    as NCCL: a communicator is used by one thread at a time, but async_error() and
///            abort() may be called by any.
class Api {
 public:
  Api() = default;
  Api(const Api&) = delete;
  Api& operator=(const Api&) = delete;
  virtual ~Api();

  virtual ncclResult_t get_unique_id(ncclUniqueId& id) = 0;
  virtual ncclResult_t init_rank(ncclComm_t& made, int size, const ncclUniqueId& id, int rank,
                                 ncclConfig_t& config) = 0;
  virtual ncclResult_t async_error(ncclComm_t communicator, ncclResult_t& state) = 0;
  /// In place, of float32.
  virtual ncclResult_t all_reduce(float* values, std::size_t count, ncclRedOp_t op,
                                  ncclComm_t communicator, cudaStream_t stream) = 0;
  virtual ncclResult_t finalize(ncclComm_t communicator) = 0;
  /// Waits until no graph holds the communicator any more, and for NCCL's own threads.
  virtual ncclResult_t destroy(ncclComm_t communicator) = 0;
  /// Ends what runs on the device, then waits as destroy().
  virtual ncclResult_t abort(ncclComm_t communicator) = 0;

  [[nodiscard]] virtual const char* error_string(ncclResult_t result) = 0;
  /// What went wrong last, in more words; null for none yet.
  [[nodiscard]] virtual const char* last_error(ncclComm_t communicator) = 0;
};

/// The library's own. Lives as long as the process.
[[nodiscard]] Api& api();

}  // namespace slackline::nccl
