// Bounds on what a chat template may take, which the engine's Jinja has none of: a template that loops
// for ever or calls itself without end becomes an error instead of a process that hangs or crashes.
//
// The parsed template gets nodes of ours: one at the head of every loop's and macro's body, which counts,
// and one around what makes large values (`range`, and operators on texts and lists).
#pragma once

#include "chat.h"

#include <chrono>
#include <cstddef>
#include <string>

namespace mullama {

// One use of a template by this thread: what it may take, from here to the end of the scope.
class template_scope {
  public:
    template_scope();
    ~template_scope();
    template_scope(const template_scope &) = delete;
    template_scope & operator=(const template_scope &) = delete;

    // Throws where a bound was reached. The engine tries templates out, and swallows what they throw.
    void check() const;
};

// Throws where a template is nested so deeply that parsing it could exhaust the stack, or where trying
// it out reaches a bound.
void check_template(const std::string & source);

// Puts the nodes into a template that has been parsed.
void bound_template(jinja::program & program);

}  // namespace mullama
