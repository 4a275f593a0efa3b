// Keeps the addon loadable on systems older than the one that built it.
//
// The compiler's headers draw in two symbols that older C and C++ libraries do not have. Both are
// defined here instead, so that the loader looks for neither; scripts/check-binary.mjs holds the
// floor.
#include <cstdlib>

extern "C" {
// Read by shared_ptr to leave out atomic operations. Zero: there may always be another thread.
char __libc_single_threaded = 0;  // NOLINT(bugprone-reserved-identifier)
}

namespace std {  // NOLINT(cert-dcl58-cpp)
// What `new T[n]` calls for an n that no memory could hold; nothing here throws.
[[noreturn]] void __throw_bad_array_new_length() {  // NOLINT(bugprone-reserved-identifier)
  abort();
}
}  // namespace std
