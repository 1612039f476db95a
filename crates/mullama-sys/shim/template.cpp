#include "template.h"

#include <stdexcept>
#include <utility>
#include <vector>

namespace mullama {
namespace {

common_json to_json(const jinja::value & value) {
    if (jinja::is_val<jinja::value_bool>(value)) {
        return value->as_bool();
    }
    if (jinja::is_val<jinja::value_int>(value)) {
        return value->as_int();
    }
    if (jinja::is_val<jinja::value_float>(value)) {
        return value->as_float();
    }
    if (jinja::is_val<jinja::value_string>(value)) {
        return value->as_string().str();
    }
    if (jinja::is_val<jinja::value_array>(value)) {
        common_json list = common_json::array();
        for (const auto & item : value->as_array()) {
            list.push_back(to_json(item));
        }
        return list;
    }
    if (jinja::is_val<jinja::value_object>(value)) {
        common_json object = common_json::object();
        for (const auto & [key, item] : value->as_ordered_object()) {
            object[key->as_string().str()] = to_json(item);
        }
        return object;
    }
    return {};
}

// Replaces all statements of a parsed template.
struct rendered_by_caller : jinja::statement {
    rendered_by_caller(
        std::vector<std::string> && names, mullama_render * render, const void * renderer)
        : names(std::move(names)), render(render), renderer(renderer) {
        pos = 0;
    }

    std::string type() const override { return "Template"; }

    jinja::value execute_impl(jinja::context & ctx) const override {
        common_json variables = common_json::object();
        for (const auto & name : names) {
            const auto value = ctx.get_val(name);
            if (!value->is_undefined()) {
                variables[name] = to_json(value);
            }
        }
        std::string text;
        if (render(renderer, variables.dump_safe().c_str(), &text) != 0) {
            throw std::runtime_error(text);
        }
        return jinja::mk_val<jinja::value_string>(text);
    }

    std::vector<std::string> names;
    mullama_render * render;
    const void * renderer;
};

jinja::caps read_caps(const common_json & described) {
    jinja::caps caps;
    caps.supports_tools = described.value("supports_tools", false);
    caps.supports_tool_calls = described.value("supports_tool_calls", false);
    caps.supports_system_role = described.value("supports_system_role", false);
    caps.supports_parallel_tool_calls = described.value("supports_parallel_tool_calls", false);
    caps.supports_preserve_reasoning = described.value("supports_preserve_reasoning", false);
    caps.supports_reasoning_effort = described.value("supports_reasoning_effort", false);
    caps.supports_string_content = described.value("supports_string_content", false);
    caps.supports_typed_content = described.value("supports_typed_content", false);
    caps.supports_object_arguments = described.value("supports_object_arguments", false);
    return caps;
}

}  // namespace

std::unique_ptr<common_chat_template> make_template(
    const common_json & description, const std::string & bos_token, const std::string & eos_token,
    mullama_render * render, const void * renderer) {
    auto made = std::make_unique<common_chat_template>("", bos_token, eos_token);
    std::vector<std::string> names;
    for (const auto & name : description.at("names")) {
        names.push_back(name);
    }
    made->src = description.at("source");
    made->caps = read_caps(description.at("caps"));
    made->prog.body.clear();
    made->prog.body.push_back(
        std::make_unique<rendered_by_caller>(std::move(names), render, renderer));
    return made;
}

}  // namespace mullama

extern "C" void mullama_text_set(void * text, const char * bytes, size_t length) {
    static_cast<std::string *>(text)->assign(bytes, length);
}
