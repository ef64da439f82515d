#include "cuda/runtime.h"

#include <slackline/left_behind.h>

#include <string>

#include "cuda/nvtx_range.h"

namespace slackline::cuda {

void check(cudaError_t status, std::string_view what) {
  if (status == cudaSuccess) return;
  // What is told here must not be told again, of the next work that goes well: CUDA keeps the last
  // error until it is asked for it.
  (void)cudaGetLastError();
  throw DeviceError(
      text("cannot ", what, ": ", cudaGetErrorString(status), " (", static_cast<int>(status), ")"));
}

Runtime::~Runtime() = default;

void Runtime::abandon(int device, const std::string& reason) {
  const std::lock_guard lock(mutex_);
  if (is_abandoned_) return;
  reason_ = reason;
  is_abandoned_ = true;
  leave_behind(text("a wait for device ", device));
}

void Runtime::check_abandoned() const {
  const std::lock_guard lock(mutex_);
  if (is_abandoned_) throw DeviceError(reason_);
}

namespace {

class RealRuntime final : public Runtime {
 public:
  void use_device(int device) override {
    check(cudaSetDevice(device), text("use device ", device));
  }

  void* allocate(std::size_t bytes) override {
    void* memory = nullptr;
    check(cudaMalloc(&memory, bytes), text("allocate ", bytes, " bytes on the device"));
    return memory;
  }
  void free(void* memory) noexcept override { (void)cudaFree(memory); }

  void* allocate_pinned(std::size_t bytes) override {
    void* memory = nullptr;
    check(cudaHostAlloc(&memory, bytes, cudaHostAllocPortable),
          text("allocate ", bytes, " bytes of pinned memory"));
    return memory;
  }
  void free_pinned(void* memory) noexcept override { (void)cudaFreeHost(memory); }

  void pin(void* memory, std::size_t bytes) override {
    check(cudaHostRegister(memory, bytes, cudaHostRegisterPortable),
          text("pin ", bytes, " bytes of the host's memory"));
  }
  void unpin(void* memory) noexcept override { (void)cudaHostUnregister(memory); }

  cudaStream_t create_stream(int priority) override {
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, priority),
          "create a stream");
    return stream;
  }
  void destroy(cudaStream_t stream) noexcept override { (void)cudaStreamDestroy(stream); }

  cudaEvent_t create_event() override {
    cudaEvent_t event = nullptr;
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming | cudaEventBlockingSync),
          "create an event");
    return event;
  }
  cudaEvent_t create_timing_event() override {
    cudaEvent_t event = nullptr;
    check(cudaEventCreateWithFlags(&event, cudaEventBlockingSync), "create an event");
    return event;
  }
  void destroy(cudaEvent_t event) noexcept override { (void)cudaEventDestroy(event); }

  void record(cudaEvent_t event, cudaStream_t stream) override {
    check(cudaEventRecord(event, stream), "record an event");
  }
  void wait(cudaStream_t stream, cudaEvent_t event) override {
    check(cudaStreamWaitEvent(stream, event, 0), "let a stream wait for an event");
  }
  bool is_done(cudaEvent_t event) override {
    const cudaError_t status = cudaEventQuery(event);
    if (status == cudaErrorNotReady) return false;
    check(status, "ask whether the device's work is done");
    return true;
  }
  void synchronize(cudaEvent_t event) override {
    check(cudaEventSynchronize(event), "wait for the device's work");
  }
  void synchronize(cudaStream_t stream) override {
    check(cudaStreamSynchronize(stream), "wait for the device's work");
  }
  double microseconds_between(cudaEvent_t begin, cudaEvent_t end) override {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "time the device's work");
    return 1e3 * static_cast<double>(milliseconds);
  }

  void copy(void* to, const void* from, std::size_t bytes, cudaStream_t stream) override {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream),
          text("copy ", bytes, " bytes"));
  }
  void fill(void* memory, int byte, std::size_t bytes, cudaStream_t stream) override {
    check(cudaMemsetAsync(memory, byte, bytes, stream), text("fill ", bytes, " bytes"));
  }
  void enqueue(const Work& work, cudaStream_t stream,
               const std::function<void(cudaStream_t)>& call) override {
    const NvtxRange range(work.name);
    call(stream);
    check(cudaPeekAtLastError(), work.name);
  }

  void begin_capture(cudaStream_t stream) override {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin a graph");
  }
  cudaGraphExec_t end_capture(cudaStream_t stream) override {
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(stream, &graph), "end a graph");
    cudaGraphExec_t executable = nullptr;
    const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
    (void)cudaGraphDestroy(graph);
    check(status, "instantiate a graph");
    return executable;
  }
  void launch(cudaGraphExec_t graph, cudaStream_t stream) override {
    check(cudaGraphLaunch(graph, stream), "launch a graph");
  }
  void destroy(cudaGraphExec_t graph) noexcept override { (void)cudaGraphExecDestroy(graph); }
};

}  // namespace

Runtime& runtime() {
  static RealRuntime instance;
  return instance;
}

std::string why_insufficient(int driver_version, std::string_view words) {
  if (driver_version == 0) return text("no CUDA driver on this machine: ", words);
  // Of one major version, every driver is good for every toolkit:
  // https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
  return text("this machine's driver is for CUDA ", driver_version / 1000, ".",
              driver_version % 1000 / 10, " at most, and this program needs one for CUDA ",
              CUDART_VERSION / 1000, ".0 or later: ", words);
}

std::string why_unavailable() {
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status == cudaErrorInsufficientDriver) {
    int driver_version = 0;
    (void)cudaDriverGetVersion(&driver_version);
    return why_insufficient(driver_version, cudaGetErrorString(status));
  }
  // With the libcuda.so that the toolkit has to link against, which answers with a version.
  if (status == cudaErrorStubLibrary) return why_insufficient(0, cudaGetErrorString(status));
  if (status != cudaSuccess) {
    return text("no GPU can be used: ", cudaGetErrorString(status), " (", static_cast<int>(status),
                ")");
  }
  return devices == 0 ? "this machine has no GPU" : "";
}

}  // namespace slackline::cuda
