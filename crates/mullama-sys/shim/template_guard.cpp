#include "template_guard.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

namespace mullama {
namespace {

using clock = std::chrono::steady_clock;

// Rounds of loops and calls of macros in one use. A conversation of 10,000 messages takes some 100,000.
constexpr size_t MAX_ROUNDS = 500'000;
// For rounds that each take long.
constexpr auto MAX_TIME = std::chrono::seconds(20);
// Bytes of stack that macros calling each other may use; threads have 2 MiB and more.
constexpr size_t MAX_STACK = 512 * 1024;
// Of one text, and of one list.
constexpr size_t MAX_TEXT = 64 * 1024 * 1024;
constexpr size_t MAX_ITEMS = 1'000'000;
// Open brackets and blocks, and operators of one tag: each is a few frames of the recursive parser.
constexpr size_t MAX_NESTING = 100;
constexpr size_t MAX_OPERATORS = 300;

struct meter {
    bool active = false;
    const char * stack = nullptr;
    clock::time_point started;
    size_t rounds = 0;
    // The bound that was reached.
    std::string reached;
};

thread_local meter current;

[[noreturn]] void reach(const std::string & bound) {
    current.reached = bound;
    throw std::runtime_error(bound);
}

void charge(size_t rounds) {
    if (!current.active) {
        return;
    }
    if (!current.reached.empty()) {
        throw std::runtime_error(current.reached);
    }
    current.rounds += rounds;
    if (current.rounds > MAX_ROUNDS) {
        reach("it takes more than " + std::to_string(MAX_ROUNDS) + " rounds of its loops");
    }
    if (clock::now() - current.started > MAX_TIME) {
        reach("it takes longer than " + std::to_string(MAX_TIME.count()) + " seconds");
    }
    const char here = 0;
    const auto top = reinterpret_cast<std::uintptr_t>(current.stack);
    const auto now = reinterpret_cast<std::uintptr_t>(&here);
    if ((top > now ? top - now : now - top) > MAX_STACK) {
        reach("its macros call each other too deeply");
    }
}

// Stands first in the body of a loop or a macro.
struct round_counter : jinja::statement {
    std::string type() const override { return "RoundCounter"; }
    jinja::value execute_impl(jinja::context &) const override {
        charge(1);
        return jinja::mk_val<jinja::value_undefined>();
    }
};

size_t size_of(const jinja::value & value) {
    return value->val_arr.empty() ? value->val_str.length() : value->val_arr.size();
}

void check_size(const jinja::value & value) {
    if (value->val_arr.size() > MAX_ITEMS) {
        reach("it makes a list of more than " + std::to_string(MAX_ITEMS) + " items");
    }
    if (!jinja::is_val<jinja::value_string>(value)) {
        return;
    }
    // A text is a list of its pieces.
    if (value->val_str.parts.size() > MAX_ITEMS || value->val_str.length() > MAX_TEXT) {
        reach("it makes a text of more than " + std::to_string(MAX_TEXT) + " bytes, or " +
              std::to_string(MAX_ITEMS) + " pieces");
    }
}

// An operator whose result may be larger than what it is made of.
struct bounded_operator : jinja::binary_expression {
    using binary_expression::binary_expression;
    jinja::value execute_impl(jinja::context & ctx) const override {
        if (op.value == "*") {
            check_product(left->execute(ctx), right->execute(ctx));
        }
        auto value = binary_expression::execute_impl(ctx);
        check_size(value);
        return value;
    }

  private:
    // A text times a number, before it is there.
    static void check_product(const jinja::value & one, const jinja::value & other) {
        for (const auto & [text, count] : { std::pair(one, other), std::pair(other, one) }) {
            if (jinja::is_val<jinja::value_int>(count) && !jinja::is_val<jinja::value_int>(text)) {
                const auto times = count->as_int();
                const auto size = size_of(text);
                // Each time is a piece.
                if (times > 0 && size > 0 &&
                    static_cast<std::uint64_t>(times) > std::min(MAX_ITEMS, MAX_TEXT / size)) {
                    reach("it makes a text of more than " + std::to_string(MAX_ITEMS) + " pieces");
                }
            }
        }
    }
};

// `range`, which makes the whole list.
struct bounded_range : jinja::identifier {
    using identifier::identifier;
    jinja::value execute_impl(jinja::context & ctx) const override {
        auto value = identifier::execute_impl(ctx);
        const auto * function = dynamic_cast<const jinja::value_func_t *>(value.get());
        if (!function || function->name != "range") {
            return value;
        }
        return jinja::mk_val<jinja::value_func>(
            "range", [inner = function->val_func](const jinja::func_args & args) {
                charge(1 + length(args.get_args()) / 16);
                return inner(args);
            });
    }

  private:
    // What the function itself refuses counts as empty.
    static size_t length(const std::vector<jinja::value> & arguments) {
        for (const auto & argument : arguments) {
            if (!jinja::is_val<jinja::value_int>(argument)) {
                return 0;
            }
        }
        const size_t count = arguments.size();
        if (count < 1 || count > 3) {
            return 0;
        }
        const double start = count == 1 ? 0.0 : static_cast<double>(arguments[0]->as_int());
        const double stop = static_cast<double>(arguments[count == 1 ? 0 : 1]->as_int());
        const double step = count == 3 ? static_cast<double>(arguments[2]->as_int()) : 1.0;
        const double items = step == 0.0 ? 0.0 : (stop - start) / step;
        if (items > static_cast<double>(MAX_ITEMS)) {
            reach("it makes a list of more than " + std::to_string(MAX_ITEMS) + " items");
        }
        return items > 0.0 ? static_cast<size_t>(items) : 0;
    }
};

// The default of a macro's parameter, which may call the macro.
struct counted_default : jinja::expression {
    explicit counted_default(jinja::statement_ptr && value) : value(std::move(value)) {}
    std::string type() const override { return "CountedDefault"; }
    jinja::value execute_impl(jinja::context & ctx) const override {
        charge(1);
        return value->execute(ctx);
    }

    jinja::statement_ptr value;
};

// Spaces before a line: more make no sense, and gigabytes.
constexpr int64_t MAX_INDENT = 1000;

// An argument of a filter or a test that the engine computes with as it is.
struct checked_argument : jinja::expression {
    checked_argument(const jinja::call_expression & call, jinja::statement_ptr && value)
        : call(call), value(std::move(value)) {}
    std::string type() const override { return "CheckedArgument"; }
    jinja::value execute_impl(jinja::context & ctx) const override {
        auto result = value->execute(ctx);
        if (jinja::is_val<jinja::value_int>(result)) {
            check(ctx, result->as_int());
        }
        return result;
    }

    // Whether a call of this name has arguments to check.
    static bool is_needed(const std::string & name) {
        return name == "divisibleby" || name == "indent" || name == "tojson" || selects(name);
    }

    const jinja::call_expression & call;
    jinja::statement_ptr value;

  private:
    static bool selects(const std::string & name) {
        return name == "select" || name == "reject" || name == "selectattr" || name == "rejectattr";
    }

    void check(jinja::context & ctx, int64_t number) const {
        const auto & name = static_cast<const jinja::identifier &>(*call.callee).val;
        // The lowest number divided by -1 is none.
        const bool divides_badly = number == 0 || number == -1;
        if (name == "divisibleby" || selects(name)) {
            if (divides_badly && (name == "divisibleby" || names_divisibleby(ctx))) {
                reach("it asks whether a number is divisible by " + std::to_string(number));
            }
        } else if (number > MAX_INDENT) {
            reach("it indents by more than " + std::to_string(MAX_INDENT) + " spaces");
        }
    }

    // `select("divisibleby", 0)`
    bool names_divisibleby(jinja::context & ctx) const {
        for (const auto & argument : call.args) {
            const auto * checked = dynamic_cast<const checked_argument *>(argument.get());
            if (!checked || checked == this) {
                continue;
            }
            const auto other = checked->value->execute(ctx);
            if (jinja::is_val<jinja::value_string>(other) &&
                other->as_string().str() == "divisibleby") {
                return true;
            }
        }
        return false;
    }
};

// Lists in lists: the engine prints and frees them by calling itself.
constexpr size_t MAX_LEVELS = 200;
// Values that are looked at for that.
constexpr size_t MAX_LOOKS = 2000;

// Fails for a value that is nested too deeply, or holds another: which one that is to hold it.
void check_nesting_of(const jinja::value & value, const jinja::value_t * holder) {
    std::vector<std::pair<const jinja::value_t *, size_t>> open = { { value.get(), 1 } };
    for (size_t looks = 0; !open.empty() && looks < MAX_LOOKS; looks++) {
        const auto [current_value, level] = open.back();
        open.pop_back();
        if (current_value == holder || level > MAX_LEVELS) {
            reach("it makes a list that is nested too deeply, or holds itself");
        }
        for (const auto & item : current_value->val_arr) {
            open.emplace_back(item.get(), level + 1);
        }
        for (const auto & [key, item] : current_value->val_obj) {
            open.emplace_back(item.get(), level + 1);
        }
    }
}

// A list or an object that is written out.
template <typename Literal>
struct bounded_literal : Literal {
    using Literal::Literal;
    jinja::value execute_impl(jinja::context & ctx) const override {
        auto value = Literal::execute_impl(ctx);
        check_nesting_of(value, nullptr);
        return value;
    }
};

// What a list or a namespace is given to hold.
struct held_value : jinja::expression {
    held_value(const jinja::statement & holder, jinja::statement_ptr && value)
        : holder(holder), value(std::move(value)) {}
    std::string type() const override { return "HeldValue"; }
    jinja::value execute_impl(jinja::context & ctx) const override {
        auto result = value->execute(ctx);
        check_nesting_of(result, holder.execute(ctx).get());
        return result;
    }

    const jinja::statement & holder;
    jinja::statement_ptr value;
};

void bound(jinja::statement_ptr & node);

void bound(jinja::statements & nodes) {
    for (auto & node : nodes) {
        bound(node);
    }
}

void bound_body(jinja::statements & body) {
    bound(body);
    body.insert(body.begin(), std::make_unique<round_counter>());
}

template <typename Node>
Node * as(const jinja::statement_ptr & node) {
    return dynamic_cast<Node *>(node.get());
}

bool bound_block(jinja::statement_ptr & node) {
    if (auto * loop = as<jinja::for_statement>(node)) {
        bound(loop->iterable);
        bound_body(loop->body);
        bound(loop->default_block);
    } else if (auto * condition = as<jinja::if_statement>(node)) {
        bound(condition->test);
        bound(condition->body);
        bound(condition->alternate);
    } else if (auto * set = as<jinja::set_statement>(node)) {
        bound(set->val);
        bound(set->body);
        const auto * member = as<jinja::member_expression>(set->assignee);
        if (member && set->val) {
            set->val = std::make_unique<held_value>(*member->object, std::move(set->val));
        }
    } else if (auto * macro = as<jinja::macro_statement>(node)) {
        bound(macro->args);
        for (auto & parameter : macro->args) {
            if (auto * keyword = as<jinja::keyword_argument_expression>(parameter)) {
                keyword->val = std::make_unique<counted_default>(std::move(keyword->val));
            }
        }
        bound_body(macro->body);
    } else if (auto * filter = as<jinja::filter_statement>(node)) {
        bound(filter->filter);
        bound(filter->body);
    } else if (auto * call = as<jinja::call_statement>(node)) {
        bound(call->call);
        bound(call->caller_args);
        bound_body(call->body);
    } else {
        return false;
    }
    return true;
}

void bound_expression(jinja::statement_ptr & node) {
    if (auto * member = as<jinja::member_expression>(node)) {
        bound(member->object);
        if (member->computed) {
            bound(member->property);
        }
    } else if (auto * call = as<jinja::call_expression>(node)) {
        bound(call->callee);
        bound(call->args);
        const auto * member = as<jinja::member_expression>(call->callee);
        const auto * method = member ? as<jinja::identifier>(member->property) : nullptr;
        if (method && method->val == "append") {
            for (auto & argument : call->args) {
                argument = std::make_unique<held_value>(*member->object, std::move(argument));
            }
        }
        const auto * name = as<jinja::identifier>(call->callee);
        if (name && checked_argument::is_needed(name->val)) {
            for (auto & argument : call->args) {
                auto * keyword = as<jinja::keyword_argument_expression>(argument);
                auto & value = keyword ? keyword->val : argument;
                if (!as<jinja::spread_expression>(value)) {
                    value = std::make_unique<checked_argument>(*call, std::move(value));
                }
            }
        }
    } else if (auto * array = as<jinja::array_literal>(node)) {
        bound(array->val);
        node = std::make_unique<bounded_literal<jinja::array_literal>>(std::move(array->val));
    } else if (auto * tuple = as<jinja::tuple_literal>(node)) {
        bound(tuple->val);
    } else if (auto * object = as<jinja::object_literal>(node)) {
        for (auto & [key, value] : object->val) {
            bound(key);
            bound(value);
        }
        node = std::make_unique<bounded_literal<jinja::object_literal>>(std::move(object->val));
    } else if (auto * filter = as<jinja::filter_expression>(node)) {
        bound(filter->operand);
        bound(filter->filter);
    } else if (auto * select = as<jinja::select_expression>(node)) {
        bound(select->lhs);
        bound(select->test);
    } else if (auto * test = as<jinja::test_expression>(node)) {
        bound(test->operand);
        bound(test->test);
    } else if (auto * unary = as<jinja::unary_expression>(node)) {
        bound(unary->argument);
    } else if (auto * slice = as<jinja::slice_expression>(node)) {
        bound(slice->start_expr);
        bound(slice->stop_expr);
        bound(slice->step_expr);
    } else if (auto * keyword = as<jinja::keyword_argument_expression>(node)) {
        bound(keyword->val);
    } else if (auto * spread = as<jinja::spread_expression>(node)) {
        bound(spread->argument);
    } else if (auto * ternary = as<jinja::ternary_expression>(node)) {
        bound(ternary->condition);
        bound(ternary->true_expr);
        bound(ternary->false_expr);
    }
}

void bound(jinja::statement_ptr & node) {
    if (!node || bound_block(node)) {
        return;
    }
    const auto position = node->pos;
    if (auto * binary = as<jinja::binary_expression>(node)) {
        bound(binary->left);
        bound(binary->right);
        if (binary->op.value == "+" || binary->op.value == "~" || binary->op.value == "*") {
            node = std::make_unique<bounded_operator>(
                binary->op, std::move(binary->left), std::move(binary->right));
        }
    } else if (auto * name = as<jinja::identifier>(node)) {
        if (name->val == "range") {
            node = std::make_unique<bounded_range>(std::string(name->val));
        }
    } else {
        bound_expression(node);
    }
    node->pos = position;
}

// How deep blocks are open; each `elif` lies inside the one before it.
class block_depth {
  public:
    // `at` is the name of a tag.
    void read(const std::vector<jinja::token> & tokens, size_t at) {
        const auto & name = tokens[at].value;
        if (name == "elif" && !blocks.empty()) {
            blocks.back()++;
            depth++;
        } else if (name.rfind("end", 0) == 0 && !blocks.empty()) {
            depth -= blocks.back();
            blocks.pop_back();
        } else if (name == "if" || name == "for" || name == "macro" || name == "call" ||
                   name == "filter" || name == "generation" ||
                   (name == "set" && !assigns(tokens, at))) {
            blocks.push_back(1);
            depth++;
        }
    }

    size_t depth = 0;

  private:
    // Whether a `set` has its value in the tag.
    static bool assigns(const std::vector<jinja::token> & tokens, size_t at) {
        for (; at < tokens.size() && tokens[at].t != jinja::token::close_statement; at++) {
            if (tokens[at].t == jinja::token::equals) {
                return true;
            }
        }
        return false;
    }

    std::vector<size_t> blocks;
};

bool is_operator(const jinja::token & token) {
    using kind = jinja::token;
    switch (token.t) {
        case kind::pipe:
        case kind::dot:
        case kind::additive_binary_operator:
        case kind::multiplicative_binary_operator:
        case kind::comparison_binary_operator:
        case kind::unary_operator:
        case kind::open_paren:
        case kind::open_square_bracket:
            return true;
        case kind::identifier:
            return token.value == "and" || token.value == "or" || token.value == "not" ||
                   token.value == "if" || token.value == "else" || token.value == "is" ||
                   token.value == "in";
        default:
            return false;
    }
}

void check_nesting(const std::vector<jinja::token> & tokens) {
    using kind = jinja::token;
    block_depth blocks;
    size_t brackets = 0, operators = 0;
    for (size_t i = 0; i < tokens.size(); i++) {
        switch (tokens[i].t) {
            case kind::open_statement:
                if (i + 1 < tokens.size()) {
                    blocks.read(tokens, i + 1);
                }
                [[fallthrough]];
            case kind::open_expression:
                brackets = operators = 0;
                break;
            case kind::open_paren:
            case kind::open_square_bracket:
            case kind::open_curly_bracket:
                brackets++;
                break;
            case kind::close_paren:
            case kind::close_square_bracket:
            case kind::close_curly_bracket:
                brackets -= brackets > 0 ? 1 : 0;
                break;
            default:
                break;
        }
        operators += is_operator(tokens[i]) ? 1 : 0;
        if (brackets > MAX_NESTING || blocks.depth > MAX_NESTING) {
            throw std::runtime_error(
                "it is nested more than " + std::to_string(MAX_NESTING) + " deep");
        }
        if (operators > MAX_OPERATORS) {
            throw std::runtime_error(
                "one of its tags has more than " + std::to_string(MAX_OPERATORS) + " operators");
        }
    }
}

}  // namespace

template_scope::template_scope() {
    current = meter{};
    current.active = true;
    // Scopes live on the stack.
    current.stack = reinterpret_cast<const char *>(this);
    current.started = clock::now();
}

template_scope::~template_scope() {
    current = meter{};
}

void template_scope::check() const {
    if (!current.reached.empty()) {
        throw std::runtime_error(current.reached);
    }
}

void check_template(const std::string & source) {
    jinja::lexer lexer;
    const auto tokens = lexer.tokenize(source);
    check_nesting(tokens.tokens);
    auto program = jinja::parse_from_tokens(tokens);
    bound_template(program);
    const template_scope scope;
    jinja::caps_get(program);
    scope.check();
}

void bound_template(jinja::program & program) {
    bound(program.body);
}

}  // namespace mullama
