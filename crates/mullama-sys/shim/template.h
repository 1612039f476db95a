// Templates of the engine whose text is rendered by the caller, instead of the engine's own Jinja. A template is an
// untrusted program, and that implementation neither limits its resources nor survives every template.
#pragma once

#include "chat.h"
#include "mullama_shim.h"

#include <memory>
#include <string>

namespace mullama {

// description: {"source": text, "names": [names of the variables that it may use], "caps": {name: bool}}
std::unique_ptr<common_chat_template> make_template(
    const common_json & description, const std::string & bos_token, const std::string & eos_token,
    mullama_render * render, const void * renderer);

}  // namespace mullama
