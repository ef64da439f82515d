// What cuDNN 9.19 itself never frees, for LeakSanitizer: a descriptor for each query of its
// heuristics, and what cuBLAS had made when it finds no device.

extern "C" [[gnu::visibility("default")]] const char* __lsan_default_suppressions();  // its name

const char* __lsan_default_suppressions() {
  return "leak:cuda_graph_util::CudaGraphInfo::init\n"
         "leak:cublasLtCreate\n";
}
