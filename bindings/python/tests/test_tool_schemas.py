"""Arguments of tool calls follow their schema, in each call format of templates."""

import json

import pytest
from jsonschema import Draft202012Validator
from mullama import InvalidArgumentError, InvalidGrammarError, Model
from test_schemas import FORMATS, ROOTED, SCHEMAS, an_object

QUESTION = [{"role": "user", "content": "What is the weather in Paris?"}]

TOOLS = "{%- for tool in tools or [] %}{{- (tool | tojson) ~ '\\n' }}{%- endfor %}"


def template(call, start="<|im_start|>", end="<|im_end|>\n", begin="assistant\n", more=""):
    """A template with tools, and with the given Jinja code for calls."""
    return (
        f"{TOOLS}{more}{{%- for message in messages %}}"
        f"{{{{- '{start}' ~ message.role ~ '\n' ~ (message.content or '') }}}}"
        f"{{%- for call in message.tool_calls or [] %}}{call}{{%- endfor %}}"
        f"{{{{- '{end}' }}}}{{%- endfor %}}"
        f"{{%- if add_generation_prompt %}}{{{{- '{start}{begin}' }}}}{{%- endif %}}"
    )


EACH = "{%- for key, value in call.function.arguments.items() %}"
VALUE = "{{- value if value is string else value | tojson }}"

# Calls as templates of these models write them, in this order: Qwen 2.5 and 3; Qwen3-Coder and
# Nemotron 3; GLM 4.5 and 4.6; MiniCPM5; DeepSeek V3.2; Gemma 4.
FORMS = {
    "json": template(
        '{{- \'<tool_call>\\n{"name": "\' ~ call.function.name ~ \'", "arguments": \' ~ '
        "(call.function.arguments | tojson) ~ '}\\n</tool_call>' }}"
    ),
    "parameters": template(
        "{{- '<tool_call>\\n<function=' ~ call.function.name ~ '>\\n' }}" + EACH + "{{- "
        "'<parameter=' ~ key ~ '>\\n' }}" + VALUE + "{{- '\\n</parameter>\\n' }}{%- endfor %}"
        "{{- '</function>\\n</tool_call>' }}"
    ),
    "keys": template(
        "{{- '<tool_call>' ~ call.function.name ~ '\\n' }}" + EACH + "{{- '<arg_key>' ~ key ~ "
        "'</arg_key>\\n<arg_value>' }}" + VALUE + "{{- '</arg_value>\\n' }}{%- endfor %}"
        "{{- '</tool_call>' }}"
    ),
    "params": template(
        "{{- '<function name=\"' ~ call.function.name ~ '\">' }}" + EACH + "{{- '<param name=\"' "
        "~ key ~ '\">' }}" + VALUE + "{{- '</param>' }}{%- endfor %}{{- '</function>' }}",
        begin="assistant\n<think>\n\n</think>\n\n",
        more="{{- 'Tool usage guidelines:' }}",
    ),
    "invokes": template(
        "{%- set dsml_token = '\uff5cDSML\uff5c' %}{{- '<' ~ dsml_token ~ 'function_calls>\\n<' ~ "
        "dsml_token ~ 'invoke name=\"' ~ call.function.name ~ '\">\\n</' ~ dsml_token ~ "
        "'invoke>\\n</' ~ dsml_token ~ 'function_calls>' }}",
        start="<\uff5cAssistant\uff5c>",
        begin="",
    ),
    "dictionaries": template(
        "{{- '<|tool_call>call:' ~ call.function.name ~ (call.function.arguments | tojson) ~ "
        "'<tool_call|>' }}",
        start="<|turn>",
        end="<turn|>\n",
        begin="model\n",
    ),
}

TEXTS = {
    "a pattern": {"type": "string", "pattern": "^[A-Z][a-z]{2,4}$"},
    "a pattern somewhere": {"type": "string", "pattern": "x|^y", "maxLength": 5},
    "lengths": {"type": "string", "minLength": 2, "maxLength": 5},
    "a date and a time": {"type": "string", "format": "date-time"},
    "an address": {"type": "string", "format": "ipv6"},
    "a mailbox": {"type": "string", "format": "email", "maxLength": 20},
    "one of some": {"enum": ["a b", "</c>", 'd"']},
    "all of some": {"allOf": [{"type": "string", "minLength": 2}, {"maxLength": 3}]},
    "any of some": {"anyOf": [{"const": "x"}, {"type": "string", "pattern": "^z{2}$"}]},
    "a reference": {"$ref": "#/$defs/short"},
    "a text or nothing": {"type": ["string", "null"], "maxLength": 3},
    "a text or a number": {"type": ["string", "integer"], "maxLength": 3, "minimum": 5},
}

# Schemas that these formats cannot represent, which are rejected.
REFUSED = {
    "dictionaries": {
        "all of beside properties",
        "one of two required",
        "pattern properties",
        "prefix and items",
        "definitions that are combined",
        "properties that need others",
        "names of a pattern",
        "values within bounds",
        "choices of one type",
    }
}


@pytest.fixture(scope="module", params=FORMS)
def form(request):
    return request.param


@pytest.fixture(scope="module")
def model(form):
    with Model("demo", chat_template=FORMS[form], context_size=1024, n_threads=1) as model:
        yield model


def a_tool(schema, **more):
    definitions = {"short": {"type": "string", "maxLength": 3}}
    for name in ("$defs", "definitions"):
        if name in schema:
            schema = dict(schema)
            definitions |= schema.pop(name)
    parameters = json.loads(
        json.dumps(
            an_object(value=schema, count={"type": "integer", "minimum": 1, "maximum": 3})
        ).replace("#/definitions/", "#/$defs/")
    )
    parameters["$defs"] = definitions
    parameters |= more
    return {"type": "function", "function": {"name": "tell", "parameters": parameters}}


def assert_calls_follow(model, tool, draws, enough, **options):
    """Draws calls by temperature and seed until `enough` are whole."""
    validator = Draft202012Validator(tool["function"]["parameters"], format_checker=FORMATS)
    whole = 0
    for temperature, seed in draws:
        answer = model.chat(
            QUESTION,
            tools=[tool],
            tool_choice="required",
            temperature=temperature,
            seed=seed,
            **options,
        )
        if answer.finish_reason == "tool_calls":
            whole += 1
            for call in answer.message.tool_calls:
                validator.validate(json.loads(call.function.arguments))
        if whole == enough:
            return
    assert whole > 0, "no call was whole"


def test_parameters_may_refer_to_themselves(model):
    function = {"name": "tell", "parameters": ROOTED["itself"]}
    draws = [(1.5, seed) for seed in range(12)]
    tool = {"type": "function", "function": function}
    assert_calls_follow(model, tool, draws, enough=len(draws), max_tokens=300)


@pytest.mark.parametrize("name", SCHEMAS | TEXTS)
def test_arguments_follow_their_schemas(model, form, name):
    tool = a_tool((SCHEMAS | TEXTS)[name])
    if name in REFUSED.get(form, ()):
        with pytest.raises(InvalidGrammarError, match="cannot be enforced"):
            model.chat(QUESTION, tools=[tool], tool_choice="required", max_tokens=400)
        return
    draws = [(0, 0), *((1.5, seed) for seed in range(11))]
    assert_calls_follow(model, tool, draws, enough=2, max_tokens=400)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"not": {"type": "string"}}, "not"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "string", "pattern": "(?=a)b"}, "(?=a)b"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "minLength"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "minimum"),
    ],
)
def test_unsupported_schema_keywords_are_named(model, schema, said):
    with pytest.raises(InvalidGrammarError) as refused:
        model.chat(QUESTION, tools=[a_tool(schema)])
    assert said in str(refused.value)
    assert "tell" in str(refused.value)


def test_constraints_that_a_call_format_cannot_express_are_named(model, form):
    """Constraints on all parameters together, in formats that write each parameter separately."""
    properties = {"count": {"type": "integer", "maximum": 3}, "note": {"enum": ["a", "b"]}}
    parameters = {"type": "object", "properties": properties, "required": ["count"]}
    parameters["anyOf"] = [{"required": ["note"]}]
    tool = {"type": "function", "function": {"name": "tell", "parameters": parameters}}
    options = {"tools": [tool], "tool_choice": "required", "max_tokens": 150, "seed": 1}
    if form == "json":
        (call, *_) = model.chat(QUESTION, **options).message.tool_calls
        Draft202012Validator(parameters).validate(json.loads(call.function.arguments))
        return
    with pytest.raises(InvalidGrammarError, match=r"`anyOf` at #.*cannot be enforced"):
        model.chat(QUESTION, **options)


def test_optional_calls_follow_their_schema(demo):
    """The grammar is activated by the marker of a call."""
    city = {"type": "string", "pattern": "^[a-z]{2}$"}
    function = {"name": "get_weather", "parameters": an_object(city=city)}
    tools = [{"type": "function", "function": function}]
    answer = demo.chat(QUESTION, tools=tools, temperature=0, max_tokens=100)
    (call,) = answer.message.tool_calls
    Draft202012Validator(function["parameters"]).validate(json.loads(call.function.arguments))


# For each form, beginnings of a call of `tell`, and one of a call of a tool that there is not.
BEGUN = {
    "json": [
        "<tool",
        '<tool_call>\n{"name": "tel',
        '<tool_call>\n{"name": "tell", "arguments": {"a',
    ],
    "parameters": ["<tool_call>", "<tool_call>\n<function=tell>\n<parameter=a>\n"],
    "keys": ["<tool_call>tel", "<tool_call>tell\n<arg_key>a</arg_key>\n<arg_value>"],
    "params": ["<func", '<function name="tell"><param name="a">'],
    "invokes": ['<\uff5cDSML\uff5cfunction_calls>\n<\uff5cDSML\uff5cinvoke name="tel'],
    "dictionaries": ["<|tool_call>call:tel", "<|tool_call>call:tell{a:"],
}
UNKNOWN = {
    "json": '<tool_call>\n{"name": "nope',
    "parameters": "<tool_call>\n<function=nope",
    "keys": "<tool_call>nope\n",
    "params": '<function name="nope',
    "invokes": '<\uff5cDSML\uff5cfunction_calls>\n<\uff5cDSML\uff5cinvoke name="nope',
    "dictionaries": "<|tool_call>call:nope",
}


@pytest.mark.parametrize("choice", ["auto", "required", {"name": "tell"}])
def test_partial_calls_are_continued(model, form, choice):
    parameters = an_object(a={"enum": ["x", "y"]})
    tool = {"type": "function", "function": {"name": "tell", "parameters": parameters}}
    options = {"tools": [tool], "tool_choice": choice, "continue_final_message": True}
    texts = ["", "Well. "] if form != "dictionaries" or choice == "auto" else [""]
    for begun in [text + start for text in texts for start in BEGUN[form]]:
        messages = [*QUESTION, {"role": "assistant", "content": begun}]
        answer = model.chat(messages, max_tokens=250, seed=2, **options)
        assert answer.finish_reason == "tool_calls", begun
        for call in answer.message.tool_calls:
            assert call.function.name == "tell"
            Draft202012Validator(parameters).validate(json.loads(call.function.arguments))
    messages = [*QUESTION, {"role": "assistant", "content": UNKNOWN[form]}]
    with pytest.raises(InvalidArgumentError, match="beginning of the answer"):
        model.chat(messages, max_tokens=80, **options)


@pytest.mark.parametrize("choice", ["required", {"name": "tell"}])
def test_calls_follow_partial_text(model, form, choice):
    tool = {
        "type": "function",
        "function": {"name": "tell", "parameters": an_object(a={"const": 1})},
    }
    messages = [*QUESTION, {"role": "assistant", "content": "Hello. "}]
    options = {"tools": [tool], "tool_choice": choice, "continue_final_message": True}
    if form == "dictionaries":
        with pytest.raises(InvalidArgumentError, match="beginning of the answer"):
            model.chat(messages, **options)
        return
    answer = model.chat(messages, max_tokens=250, seed=1, **options)
    assert answer.message.tool_calls[0].function.name == "tell"


def test_an_answer_beside_a_schema_is_a_value_or_a_call(model, form):
    tool = a_tool({"type": "string", "maxLength": 8})
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2, 3]}}, "required": ["a"]}
    options = {"tools": [tool], "json_schema": schema, "max_tokens": 200}
    calls = [
        model.chat(QUESTION, tool_choice="required", temperature=1.5, seed=seed, **options)
        for seed in range(4)
    ]
    assert all(answer.finish_reason != "stop" for answer in calls)
    assert not any(answer.text.strip() for answer in calls)
    if form == "dictionaries":
        with pytest.raises(InvalidArgumentError, match="cannot be combined with tools") as refused:
            model.chat(QUESTION, **options)
        assert "tool_choice" in refused.value.hint
        return
    for seed in range(8):
        answer = model.chat(QUESTION, temperature=1.5, seed=seed, **options)
        if answer.finish_reason == "stop":
            Draft202012Validator(schema).validate(json.loads(answer.text))
        elif answer.finish_reason == "tool_calls":
            arguments = json.loads(answer.message.tool_calls[0].function.arguments)
            Draft202012Validator(tool["function"]["parameters"]).validate(arguments)
