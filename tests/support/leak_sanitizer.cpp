// LeakSanitizer of GCC 12 crashes at the end of a program whose plugins left OpenMP threads, on
// what it recorded of the memory of their libraries' threads. Without that record it works, and
// finds leaks.

extern "C" [[gnu::visibility("default")]] const char* __lsan_default_options();  // its name for it

const char* __lsan_default_options() { return "intercept_tls_get_addr=0"; }
