// Templates of the engine whose text the caller renders. The engine's own Jinja is not used: a template is a
// program by a stranger, and that Jinja neither bounds what it takes nor survives all that it may say.
#pragma once

#include "chat.h"
#include "mullama_shim.h"

#include <memory>
#include <string>

namespace mullama {

// description: {"source": text, "names": [name of each variable that it may use], "caps": {name: bool}}
std::unique_ptr<common_chat_template> make_template(
    const common_json & description, const std::string & bos_token, const std::string & eos_token,
    mullama_render * render, const void * renderer);

}  // namespace mullama
