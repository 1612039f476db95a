// Parses grammars like the engine, and returns the reason for a failure. The engine's own function writes it to
// standard error.

#include "mullama_shim.h"

#include "guarded.h"

#include "json.h"
#include "llama-grammar.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

namespace {

// The engine parses groups and follows rules recursively; these limits protect the stack.
constexpr int deepest_nesting = 200;
constexpr size_t most_rules = 10000;
// Each repetition of a repetition duplicates what it repeats.
constexpr int most_repeated = 50;
// The engine expands repetitions.
constexpr unsigned long long most_repetitions = 100000;

const char * skip_space_and_comments(const char * at) {
    while (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n' || *at == '#') {
        if (*at == '#') {
            at += strcspn(at, "\r\n");
        } else {
            at++;
        }
    }
    return at;
}

// Returns how many times a repetition is expanded. `{5,2}` would be expanded about 2^32 times, and is rejected.
unsigned long long check_repetition(const char * at) {
    char * end = nullptr;
    const auto least = strtoull(at, &end, 10);
    auto times = least;
    end = const_cast<char *>(skip_space_and_comments(end));
    if (*end == ',') {
        at = skip_space_and_comments(end + 1);
        const auto most = strtoull(at, &end, 10);
        if (end != at && most < least) {
            throw std::runtime_error("a repetition's least number is above its most");
        }
        times = most > least ? most : least;
    }
    return times;
}

void check_nesting(const char * at) {
    int depth = 0;
    char quote = 0;
    int repeated = 0;
    unsigned long long repetitions = 0;
    for (at = skip_space_and_comments(at); *at; at++) {
        const bool repeats = !quote && (*at == '*' || *at == '+' || *at == '?');
        if (!repeats && !strchr(" \t\r\n", *at)) {
            repeated = 0;
        } else if (repeats && ++repeated > most_repeated) {
            throw std::runtime_error("repetitions are repeated too often");
        }
        if (*at == '\\' && at[1]) {
            at++;
        } else if (quote) {
            if (*at == quote) {
                quote = 0;
            }
        } else if (*at == '"') {
            quote = '"';
        } else if (*at == '[') {
            quote = ']';
        } else if (*at == '#') {
            at += strcspn(at, "\r\n");
            if (!*at) {
                return;
            }
        } else if (*at == '(' && ++depth > deepest_nesting) {
            throw std::runtime_error("groups are nested too deeply");
        } else if (*at == ')') {
            depth--;
        } else if (*at == '{') {
            const auto times = check_repetition(at + 1);
            if (times > most_repetitions || (repetitions += times) > most_repetitions) {
                throw std::runtime_error("there are too many repetitions");
            }
        }
    }
}

std::string parse(const llama_vocab * vocab, const char * gbnf) {
    check_nesting(gbnf);
    llama_grammar_parser parser(vocab);
    for (auto at = skip_space_and_comments(gbnf); *at; at = skip_space_and_comments(at)) {
        at = parser.parse_rule(at);
        if (parser.symbol_ids.size() > most_rules) {
            throw std::runtime_error("there are too many rules");
        }
    }
    for (const auto & [name, id] : parser.symbol_ids) {
        if (id >= parser.rules.size() || parser.rules[id].empty()) {
            throw std::runtime_error("rule \"" + name + "\" is used and not defined");
        }
    }
    if (parser.symbol_ids.count("root") == 0) {
        throw std::runtime_error("there is no rule \"root\"");
    }
    common_json rules = common_json::array();
    for (const auto & rule : parser.rules) {
        common_json elements = common_json::array();
        for (const auto & element : rule) {
            common_json pair = common_json::array();
            pair.push_back(static_cast<int>(element.type));
            pair.push_back(element.value);
            elements.push_back(pair);
        }
        rules.push_back(elements);
    }
    common_json result = common_json::object();
    result["root"] = parser.symbol_ids.at("root");
    result["rules"] = rules;
    return result.dump();
}

} // namespace

extern "C" int mullama_parse_grammar(const llama_vocab * vocab, const char * gbnf, char ** out) {
    return guarded(out, [&] { return parse(vocab, gbnf); });
}
