#include "nccl/api.h"

namespace slackline::nccl {

Api::~Api() = default;

namespace {

class RealApi final : public Api {
 public:
  ncclResult_t get_unique_id(ncclUniqueId& id) override { return ncclGetUniqueId(&id); }
  ncclResult_t init_rank(ncclComm_t& made, int size, const ncclUniqueId& id, int rank,
                         ncclConfig_t& config) override {
    return ncclCommInitRankConfig(&made, size, id, rank, &config);
  }
  ncclResult_t async_error(ncclComm_t communicator, ncclResult_t& state) override {
    return ncclCommGetAsyncError(communicator, &state);
  }
  ncclResult_t all_reduce(float* values, std::size_t count, ncclRedOp_t op, ncclComm_t communicator,
                          cudaStream_t stream) override {
    return ncclAllReduce(values, values, count, ncclFloat32, op, communicator, stream);
  }
  ncclResult_t finalize(ncclComm_t communicator) override { return ncclCommFinalize(communicator); }
  ncclResult_t destroy(ncclComm_t communicator) override { return ncclCommDestroy(communicator); }
  ncclResult_t abort(ncclComm_t communicator) override { return ncclCommAbort(communicator); }
  const char* error_string(ncclResult_t result) override { return ncclGetErrorString(result); }
  const char* last_error(ncclComm_t communicator) override {
    return ncclGetLastError(communicator);
  }
};

}  // namespace

Api& api() {
  static RealApi instance;
  return instance;
}

}  // namespace slackline::nccl
