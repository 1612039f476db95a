// The boundary between C++ code that throws and C code that must not.
#pragma once

#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>

// Whether this thread is inside `guarded`, which catches exceptions.
extern thread_local bool mullama_inside_guard;

class guard_scope {
  public:
    guard_scope() : outer(mullama_inside_guard) { mullama_inside_guard = true; }
    ~guard_scope() { mullama_inside_guard = outer; }
    guard_scope(const guard_scope &) = delete;
    guard_scope & operator=(const guard_scope &) = delete;

  private:
    bool outer;
};

inline char * duplicate(const std::string & text) {
    char * copy = static_cast<char *>(std::malloc(text.size() + 1));
    if (copy) {
        std::memcpy(copy, text.c_str(), text.size() + 1);
    }
    return copy;
}

// Runs `body`, which returns the text for `*out`. An exception becomes -1, with its message in `*out`.
template <typename Body>
int guarded(char ** out, Body body) noexcept {
    *out = nullptr;
    // Allocates what this thread needs to throw. glibc ends the process if there is no memory for it later.
    // `volatile`, because the function counts as pure.
    const volatile int uncaught = std::uncaught_exceptions();
    (void) uncaught;
    const guard_scope scope;
    try {
        *out = duplicate(body());
        return *out ? 0 : -1;
    } catch (const std::exception & error) {
        *out = duplicate(error.what());
    } catch (...) {
        *out = duplicate("unknown C++ exception");
    }
    return -1;
}
