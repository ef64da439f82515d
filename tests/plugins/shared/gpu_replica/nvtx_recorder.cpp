// A tool of NVTX inside the program, which comes in by a weak pointer: nvtx3/nvtxDetail/nvtxInit.h.

#include "nvtx_recorder.h"

#include <string>

#include <nvtx3/nvToolsExt.h>

namespace slackline::gpu::testing_support {
namespace {

std::string* said_of_all = nullptr;

// The pointer of earlier versions cannot be used, as nvtxInit.h says.
#if defined(NVTX_LOAD_SEQUENCE_VERSION) && NVTX_LOAD_SEQUENCE_VERSION >= 2

int push(const char* name) {
  if (said_of_all != nullptr) *said_of_all += std::string("(") + name + " ";
  return 0;
}

int pop() {
  if (said_of_all != nullptr) *said_of_all += ")";
  return 0;
}

int attach(NvtxGetExportTableFunc_t export_table) {
  const auto* callbacks =
      static_cast<const NvtxExportTableCallbacks*>(export_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable functions = nullptr;
  unsigned int size = 0;
  if (callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &functions, &size) == 0) return 0;
  *functions[NVTX_CBID_CORE_RangePushA] = reinterpret_cast<NvtxFunctionPointer>(&push);
  *functions[NVTX_CBID_CORE_RangePop] = reinterpret_cast<NvtxFunctionPointer>(&pop);
  return 1;
}

/// Before the first range.
const bool kIsAttached = [] {
  InitializeInjectionNvtx2_fnptr = &attach;
  return true;
}();

#else

const bool kIsAttached = false;

#endif

}  // namespace

NvtxRecorder::NvtxRecorder() { said_of_all = &said_; }
NvtxRecorder::~NvtxRecorder() { said_of_all = nullptr; }

bool NvtxRecorder::is_supported() { return kIsAttached; }

}  // namespace slackline::gpu::testing_support
