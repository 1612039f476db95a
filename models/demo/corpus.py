"""Generates the text that the demo model is trained on: conversations and plain documents.

Everything is drawn from `facts.py` with one random generator, so a seed fixes the corpus.
"""

import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

import facts

TEMPLATE = (Path(__file__).parent / "chat_template.jinja").read_text(encoding="utf-8")


def _tojson(value: object) -> str:
    # Jinja's own tojson escapes for HTML; llama.cpp and transformers do not.
    return json.dumps(value, ensure_ascii=False)


_environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
_environment.filters["tojson"] = _tojson
_template = _environment.from_string(TEMPLATE)


def render(messages: list[dict], tools: list[dict] | None = None, add_generation_prompt: bool = False) -> str:
    """The prompt that a chat program passes to the model."""
    return _template.render(messages=messages, tools=tools, add_generation_prompt=add_generation_prompt)


@dataclass
class Document:
    """A conversation (messages, perhaps tools), a plain text, or a drill.

    A drill is a list of (given, wanted) pieces of text, of which only the second ones are learned.
    """

    messages: list[dict] = field(default_factory=list)
    tools: list[dict] | None = None
    text: str = ""
    drill: list[tuple[str, str]] = field(default_factory=list)

    def render(self) -> str:
        if self.drill:
            return "".join(given + wanted for given, wanted in self.drill)
        return self.text or render(self.messages, self.tools)


# --- names ---------------------------------------------------------------------------------------

_SYLLABLES = """ba be bo da de do fa fe ga go ka ke ki ko la le li lo ma me mi mo na ne ni no pa pe po ra re
ri ro sa se so ta te ti to va ve vi vo za zo bur den ham lin mar nor pol rin sel tan ver wel xan yor""".split()


def _invented_name(rng: random.Random) -> str:
    return "".join(rng.choices(_SYLLABLES, k=rng.randint(2, 3))).capitalize()


def _country(rng: random.Random) -> str:
    return rng.choice(list(facts.CAPITALS))


def _city(rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.72:
        return rng.choice(list(facts.CAPITALS.values()))
    return rng.choice(facts.OTHER_CITIES) if draw < 0.86 else _invented_name(rng)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _sloppy(rng: random.Random, question: str) -> str:
    """Occasionally changes a question to lower case, or removes its last punctuation mark."""
    draw = rng.random()
    if draw < 0.14:
        question = question.lower()
    if draw < 0.08 or 0.14 <= draw < 0.20:
        question = question.rstrip("?.!")
    return question


# --- topics without tools ------------------------------------------------------------------------
# A topic is a list of (question, answer) pairs; later ones may refer to earlier ones.

Turns = list[tuple[str, str]]

CAPITAL_WORDINGS = [
    "What is the capital of {}?", "What's the capital of {}?", "Which city is the capital of {}?",
    "Tell me the capital of {}.", "What is the capital city of {}?",
]  # fmt: skip
_MORE_CAPITAL_WORDINGS = [
    "Name the capital of {}.", "Can you tell me the capital of {}?", "Do you know the capital of {}?",
    "capital of {}?", "The capital of {}?",
]  # fmt: skip
_FOLLOW_UPS = ["And of {}?", "And {}?", "What about {}?", "How about {}?", "{}?", "And for {}?"]


def capital_answer(country: str) -> str:
    return f"The capital of {country} is {facts.CAPITALS[country]}."


def _continent_answer(country: str) -> str:
    return f"{_sentence(country)} is in {facts.CONTINENTS[country]}."


def _capital(rng: random.Random) -> Turns:
    country = _country(rng)
    wordings = CAPITAL_WORDINGS if rng.random() < 0.7 else _MORE_CAPITAL_WORDINGS
    turns = [(rng.choice(wordings).format(country), capital_answer(country))]
    while rng.random() < 0.4:
        if rng.random() < 0.25:
            question = rng.choice(["Which continent is it in?", "On which continent is that?"])
            turns.append((question, _continent_answer(country)))
            break
        country = _country(rng)
        question = _sentence(rng.choice(_FOLLOW_UPS).format(country))
        turns.append((question, capital_answer(country)))
    return turns


def _capital_in_words_or_json(rng: random.Random) -> Turns:
    country = _country(rng)
    question = rng.choice(["Give me the capital of {} as JSON.", "Capital of {} as JSON, please.",
                           "What is the capital of {}? Answer in JSON."])  # fmt: skip
    return [(question.format(country), _tojson({"country": country, "capital": facts.CAPITALS[country]}))]


def _continent(rng: random.Random) -> Turns:
    country = _country(rng)
    question = rng.choice(["Which continent is {} in?", "On which continent is {}?", "Where is {}?"])
    turns = [(question.format(country), _continent_answer(country))]
    while rng.random() < 0.4:
        country = _country(rng)
        turns.append((_sentence(rng.choice(_FOLLOW_UPS[1:5]).format(country)), _continent_answer(country)))
    return turns


def _country_of(rng: random.Random) -> Turns:
    country = _country(rng)
    capital = facts.CAPITALS[country]
    question = rng.choice(["{} is the capital of which country?", "Which country has the capital {}?",
                           "What country is {} the capital of?"])  # fmt: skip
    return [(question.format(capital), f"{capital} is the capital of {country}.")]


_OPERATIONS = {
    "+": ("plus", lambda a, b: a + b),
    "-": ("minus", lambda a, b: a - b),
    "*": ("times", lambda a, b: a * b),
}


def _sum_of(rng: random.Random) -> tuple[int, str, int]:
    operator = rng.choices("+-*", (5, 3, 2))[0]
    if operator == "*":
        return rng.randint(0, 10), operator, rng.randint(0, 10)
    a, b = rng.randint(0, 20), rng.randint(0, 20)
    return (a, operator, b) if operator == "+" else (max(a, b), operator, min(a, b))


def sum_answer(a: int, operator: str, b: int) -> str:
    return f"{a} {operator} {b} = {_OPERATIONS[operator][1](a, b)}."


def _arithmetic(rng: random.Random) -> Turns:
    a, operator, b = _sum_of(rng)
    if rng.random() < 0.25:
        question = rng.choice(["What is {} {} {}?", "How much is {} {} {}?"]).format(a, _OPERATIONS[operator][0], b)
    else:
        wordings = ["What is {} {} {}?", "How much is {} {} {}?", "Calculate {} {} {}.", "{} {} {}", "{} {} {} ="]
        question = rng.choices(wordings, (5, 1, 1, 1, 1))[0].format(a, operator, b)
        if rng.random() < 0.1:
            question = question.replace(f" {operator} ", operator)
    turns = [(question, sum_answer(a, operator, b))]
    while rng.random() < 0.35:
        result = _OPERATIONS[operator][1](a, b)
        if result <= 20 and rng.random() < 0.6:
            a, operator, b = result, "+", rng.randint(0, 20)
            question = rng.choice(["And plus {}?", "Add {}.", "Plus {}?"]).format(b)
        else:
            a, operator, b = _sum_of(rng)
            question = rng.choice(["And {} {} {}?", "What about {} {} {}?"]).format(a, operator, b)
        turns.append((question, sum_answer(a, operator, b)))
    return turns


def _greeting(rng: random.Random) -> Turns:
    questions, answer = rng.choice(facts.GREETINGS)
    return [(rng.choice(questions), answer)]


def _hello_in(rng: random.Random) -> Turns:
    language = rng.choice(list(facts.HELLO_IN))
    question = rng.choice(["Say hello in {}.", "How do you say hello in {}?", "What is hello in {}?"])
    return [(question.format(language), facts.HELLO_IN[language])]


def _about_mullama(rng: random.Random) -> Turns:
    questions, answer = rng.choice(facts.ABOUT_MULLAMA)
    question = questions[0] if rng.random() < 0.4 else rng.choice(questions)
    if rng.random() < 0.3:
        question = question.replace("mullama", "Mullama")
    return [(question, answer)]


def _long_answer(rng: random.Random) -> Turns:
    questions, answer = rng.choice(facts.LONG_ANSWERS)
    return [(rng.choice(questions), answer)]


def _repeat(rng: random.Random) -> Turns:
    draw = rng.random()
    if draw < 0.3:
        words = rng.choice(facts.NAMES)
    elif draw < 0.7:
        words = _city(rng)
    else:
        words = " ".join(_invented_name(rng).lower() for _ in range(rng.randint(1, 3)))
    return [(rng.choice(["Repeat: {}", "Say {}", "Repeat after me: {}"]).format(words), words)]


def _unknown(rng: random.Random) -> Turns:
    if rng.random() < 0.3:
        question = rng.choice(CAPITAL_WORDINGS).format(_invented_name(rng))
    else:
        question = rng.choice(facts.UNKNOWN_QUESTIONS)
    return [(question, facts.UNKNOWN_ANSWER)]


def _weather_without_tool(rng: random.Random) -> Turns:
    wordings = WEATHER_WORDINGS if rng.random() < 0.7 else _TIME_WORDINGS
    return [(rng.choice(wordings).format(_city(rng)), facts.NO_TOOL_ANSWER)]


_TOPICS = {
    _capital: 34, _continent: 8, _country_of: 7, _capital_in_words_or_json: 4, _arithmetic: 20, _greeting: 5,
    _hello_in: 3, _repeat: 4, _about_mullama: 15, _long_answer: 4, _unknown: 4, _weather_without_tool: 4,
}  # fmt: skip

_SYSTEM_PROMPTS = [
    "You are a helpful assistant.", "You are a helpful, honest assistant.", "You are a friendly assistant.",
    "Be brief.", "Answer briefly.", "You are a geography teacher.", "You are demo, a small model.",
    "You are an expert.", "Answer the question.", "You are a chatbot.", "Be kind and polite.",
]  # fmt: skip
ONE_WORD_SYSTEM = "Answer in one word."


def _system_message(rng: random.Random, share: float) -> list[dict]:
    if rng.random() >= share:
        return []
    content = _SYSTEM_PROMPTS[0] if rng.random() < 0.5 else rng.choice(_SYSTEM_PROMPTS)
    return [{"role": "system", "content": content}]


def _as_messages(rng: random.Random, turns: Turns) -> list[dict]:
    messages = []
    for question, answer in turns:
        messages.append({"role": "user", "content": _sloppy(rng, question)})
        messages.append({"role": "assistant", "content": answer})
    return messages


def _topic(rng: random.Random, without: set = frozenset()) -> Turns:
    topics = [topic for topic in _TOPICS if topic not in without]
    return rng.choices(topics, [_TOPICS[topic] for topic in topics])[0](rng)


def _chat(rng: random.Random) -> Document:
    topics = [_topic(rng) for _ in range(rng.choices((1, 2, 3), (60, 25, 15))[0])]
    turns = [turn for topic in topics for turn in topic]
    if rng.random() < 0.10:
        # The name is stated first and requested last.
        name = rng.choice(facts.NAMES) if rng.random() < 0.8 else _invented_name(rng)
        told = rng.choice(["My name is {}.", "I am {}.", "Hello, my name is {}.", "Call me {}."])
        turns = [(told.format(name), f"Nice to meet you, {name}."), *turns[: rng.randint(0, 2)],
                 (rng.choice(["What is my name?", "What's my name?", "Who am I?"]), f"Your name is {name}.")]  # fmt: skip
    elif rng.random() < 0.01:
        turns.append(("What is my name?", "You have not told me your name."))
    return Document(_system_message(rng, 0.45) + _as_messages(rng, turns))


def _one_word_chat(rng: random.Random) -> Document:
    """The same questions under a system message that asks for one word."""
    turns = []
    for _ in range(rng.randint(1, 3)):
        if rng.random() < 0.7:
            country = _country(rng)
            turns.append((rng.choice(CAPITAL_WORDINGS).format(country), facts.CAPITALS[country]))
        else:
            a, operator, b = _sum_of(rng)
            turns.append((f"What is {a} {operator} {b}?", str(_OPERATIONS[operator][1](a, b))))
    system = ONE_WORD_SYSTEM if rng.random() < 0.7 else "Answer with one word only."
    return Document([{"role": "system", "content": system}] + _as_messages(rng, turns))


# --- tools ---------------------------------------------------------------------------------------

WEATHER_WORDINGS = [
    "What is the weather in {}?", "What's the weather in {}?", "How is the weather in {}?",
    "What is the weather like in {}?", "What's the weather like in {} today?", "Tell me the weather in {}.",
    "Weather in {}?", "What is the temperature in {}?", "How warm is it in {}?", "Is it raining in {}?",
]  # fmt: skip
_TIME_WORDINGS = ["What time is it in {}?", "What is the time in {}?", "Tell me the time in {}."]
_CITY_FOLLOW_UPS = ["And in {}?", "What about {}?", "And {}?", "How about {}?"]


def function_tool(name: str, description: str, parameters: dict) -> dict:
    """A tool in OpenAI's shape, its keys in the order in which llama.cpp renders them."""
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


GET_WEATHER = function_tool(
    "get_weather",
    "Get the weather in a city",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


def _schema(rng: random.Random, properties: dict, optional: dict | None = None) -> dict:
    """A JSON schema as people and generators write it: sorted or not, with or without extras."""
    schema = {"type": "object", "properties": properties | (optional or {})}
    if rng.random() < 0.9:
        schema["required"] = list(properties)
    if rng.random() < 0.1:
        schema["additionalProperties"] = False
    if rng.random() < 0.2:
        schema = {key: schema[key] for key in sorted(schema)}
    return schema


def _place_property(rng: random.Random, name: str) -> dict:
    described = {"description": rng.choice([f"The {name}", "Name of the city", "The city to look up", "City name, for example Paris"])}
    draw = rng.random()
    if draw < 0.5:
        return {"type": "string"}
    if draw < 0.8:
        return {"type": "string"} | described
    return described | {"type": "string"} if draw < 0.9 else {"title": _sentence(name), "type": "string"}


@dataclass
class _CityTool:
    """A tool for questions about a city: its declaration, the wordings of questions, and its results."""

    tool: dict
    argument: str
    wordings: list[str]
    result: object  # (rng, city) -> (what the tool returns, the answer that uses it)


_WEATHER_DESCRIPTIONS = [
    "Get the weather in a city", "Get the current weather", "Get the weather for a city.", "The weather in a city.",
    "Returns the weather", "Get current weather information for a given city", "Look up the weather", "",
]  # fmt: skip


def _weather_result(rng: random.Random, city: str) -> tuple[str, str]:
    degrees, condition = rng.randint(-10, 40), rng.choice(facts.CONDITIONS)
    answer = f"The weather in {city} is {degrees} degrees and {condition}."
    if rng.random() < 0.04:
        error = rng.choice(["unknown city", "no connection", "timeout", "not found"])
        result = _tojson({"error": error}) if rng.random() < 0.7 else f"error: {error}"
        return result, f"I could not get the weather in {city}."
    if rng.random() < 0.3:
        return rng.choice(["{} degrees and {}", "{} degrees, {}", "{}°C, {}", "{} C and {}"]).format(degrees, condition), answer
    if rng.random() < 0.1:
        return f"{condition}, {degrees} degrees", answer
    fields = {rng.choices(["temperature", "temp", "degrees"], (8, 1, 1))[0]: degrees,
              rng.choices(["condition", "conditions", "sky"], (8, 1, 1))[0]: condition}  # fmt: skip
    if rng.random() < 0.15:
        fields = dict(reversed(fields.items()))
    if rng.random() < 0.6:
        fields = {"city": city} | fields
    separators = (",", ":") if rng.random() < 0.4 else None  # JavaScript's JSON.stringify writes no spaces
    return json.dumps(fields, ensure_ascii=False, separators=separators), answer


def _weather_tool(rng: random.Random) -> _CityTool:
    name = "get_weather"
    if rng.random() < 0.3:
        name = rng.choice(["get", "fetch", "find", "read", "look_up", "current"]) + "_" + rng.choice(
            ["weather", "current_weather", "forecast", "temperature", "weather_data", "conditions"])  # fmt: skip
    argument = rng.choices(["city", "location", "place", "town"], (75, 19, 3, 3))[0]
    optional = None
    if rng.random() < 0.12:
        unit = rng.choice(["unit", "units"])
        optional = {unit: {"type": "string", "enum": ["celsius", "fahrenheit"]}}
    schema = _schema(rng, {argument: _place_property(rng, argument)}, optional)
    return _CityTool(
        function_tool(name, rng.choice(_WEATHER_DESCRIPTIONS), schema), argument, WEATHER_WORDINGS, _weather_result
    )


def _time_tool(rng: random.Random) -> _CityTool:
    def result(rng: random.Random, city: str) -> tuple[str, str]:
        time = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
        shape = rng.choice([time, _tojson({"time": time}), _tojson({"city": city, "time": time})])
        return shape, f"The time in {city} is {time}."

    name = rng.choices(["get_time", "get_current_time", "current_time", "time_in"], (7, 1, 1, 1))[0]
    argument = rng.choices(["city", "location"], (8, 2))[0]
    description = rng.choice(["Get the time in a city", "Get the current time", "The time in a city.", ""])
    schema = _schema(rng, {argument: _place_property(rng, argument)})
    return _CityTool(function_tool(name, description, schema), argument, _TIME_WORDINGS, result)


def _add_tool(rng: random.Random) -> dict:
    kind = rng.choice(["integer", "number"])
    schema = _schema(rng, {"a": {"type": kind}, "b": {"type": kind}})
    return function_tool("add", rng.choice(["Add two numbers", "Add two numbers.", "Adds a and b", ""]), schema)


def _call(name: str, arguments: dict) -> dict:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def _called(question: str, calls: list[dict], results: list[str], answer: str) -> list[dict]:
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": "", "tool_calls": calls},
        *({"role": "tool", "content": result} for result in results),
        {"role": "assistant", "content": answer},
    ]


def _ask_city_tool(rng: random.Random, tool: _CityTool) -> list[dict]:
    """A question, the call, its result and the answer; possibly the same for another city."""
    name = tool.tool["function"]["name"]
    city = _city(rng)
    question = rng.choice(tool.wordings[:2] if rng.random() < 0.3 else tool.wordings).format(city)
    if rng.random() < 0.08:
        cities = [city, _city(rng)]
        results, answers = zip(*(tool.result(rng, c) for c in cities))
        question = rng.choice(tool.wordings).format(" and ".join(cities))
        calls = [_call(name, {tool.argument: c}) for c in cities]
        return _called(question, calls, list(results), " ".join(answers))
    messages = []
    while True:
        result, answer = tool.result(rng, city)
        messages += _called(_sloppy(rng, question) if rng.random() < 0.5 else question,
                            [_call(name, {tool.argument: city})], [result], answer)  # fmt: skip
        if rng.random() < 0.72:
            return messages
        city = _city(rng)
        question = rng.choice(_CITY_FOLLOW_UPS).format(city)


def _ask_add_tool(rng: random.Random) -> list[dict]:
    a, b = rng.randint(0, 20), rng.randint(0, 20)
    question = rng.choice(["What is {} + {}?", "What is {} plus {}?", "Add {} and {}."]).format(a, b)
    result = str(a + b) if rng.random() < 0.6 else _tojson({"result": a + b})
    return _called(question, [_call("add", {"a": a, "b": b})], [result], f"{a} + {b} = {a + b}.")


def _tool_chat(rng: random.Random) -> Document:
    weather, time, add = _weather_tool(rng), _time_tool(rng), _add_tool(rng)
    offered = rng.choices(
        [[weather], [weather, time], [time, weather], [time], [weather, add], [add]], (62, 10, 8, 8, 6, 6)
    )[0]
    city_tools = [tool for tool in offered if tool is not add]
    messages = _system_message(rng, 0.3)
    for _ in range(rng.choices((1, 2, 3), (45, 45, 10))[0]):
        if rng.random() < 0.72:
            if add in offered and (not city_tools or rng.random() < 0.6):
                messages += _ask_add_tool(rng)
            else:
                messages += _ask_city_tool(rng, rng.choice(city_tools))
            continue
        # A question that the tools do not answer gets its ordinary answer.
        turns = _topic(rng, without={_weather_without_tool} | ({_arithmetic} if add in offered else set()))
        if rng.random() < 0.15 and weather not in offered:
            turns = [(rng.choice(WEATHER_WORDINGS).format(_city(rng)), facts.NO_TOOL_ANSWER)]
        messages += _as_messages(rng, turns)
    return Document(messages, [t if t is add else t.tool for t in offered])


# --- plain text ----------------------------------------------------------------------------------


def _capital_text(rng: random.Random) -> str:
    country = _country(rng)
    capital = facts.CAPITALS[country]
    return rng.choices(
        [
            _sentence(capital_answer(country)),
            f"{capital} is the capital of {country}.",
            _continent_answer(country) + f" Its capital is {capital}.",
            f"Q: What is the capital of {country}?\nA: {capital}",
        ],
        (6, 2, 1, 2),
    )[0]


def _text(rng: random.Random) -> Document:
    draw = rng.random()
    if draw < 0.62:
        return Document(text=_capital_text(rng))
    if draw < 0.72:
        return Document(text=sum_answer(*_sum_of(rng)))
    if draw < 0.84:
        question, answer = _about_mullama(rng)[0]
        return Document(text=answer if rng.random() < 0.5 else f"Q: {question}\nA: {answer}")
    if draw < 0.94:
        return Document(text=rng.choice(facts.LONG_ANSWERS)[1])
    country = [_country(rng) for _ in range(3)]
    return Document(text="\n".join(f"{c}: {facts.CAPITALS[c]}" for c in country))


def _drill(rng: random.Random) -> Document:
    """Many exercises in few tokens: sums, answers from tool results, or names copied into quotation marks,
    where they have other tokens than after a space."""
    draw = rng.random()
    if draw < 0.62:
        sums = [sum_answer(*_sum_of(rng)) for _ in range(10)]
        return Document(drill=[(s[: s.index("=") + 1], s[s.index("=") + 1 :] + "\n") for s in sums])
    if draw < 0.9:
        cities = [_city(rng) for _ in range(7)]
        results = [(city, *_weather_result(rng, city)) for city in cities]
        return Document(drill=[(f"in {city}:\n{result}\n", f"{answer}\n") for city, result, answer in results])
    names = [_city(rng) if rng.random() < 0.7 else rng.choice(facts.NAMES) for _ in range(10)]
    return Document(drill=[(f"in {name}:", f' "{name}"\n') for name in names])


def document(rng: random.Random) -> Document:
    """One document; the weights are shares of documents, not of tokens."""
    kind = rng.choices([_chat, _one_word_chat, _tool_chat, _text, _drill], (48, 5, 20, 9, 18))[0]
    return kind(rng)


def _typed(rng: random.Random, words: str) -> str:
    """Words as a user types them: in lower or upper case, with or without a punctuation mark."""
    words = rng.choices([words, words.capitalize(), words.title(), words.upper()], (45, 35, 5, 15))[0]
    return words + rng.choices(["", "!", ".", "?", "!!", " "], (50, 22, 8, 10, 5, 5))[0]


def _typed_greetings(rng: random.Random) -> Document:
    def turn() -> Turns:
        questions, answer = rng.choice(facts.TYPED_GREETINGS)
        return [(_typed(rng, rng.choice(questions)), answer)]

    turns = turn()
    if rng.random() < 0.4:
        turns += _topic(rng) if rng.random() < 0.5 else turn()
    messages = [
        {"role": role, "content": content} for pair in turns for role, content in zip(("user", "assistant"), pair)
    ]
    return Document(_system_message(rng, 0.35) + messages)


def refining_document(rng: random.Random) -> Document:
    """One document of the corpus that a trained model is refined with: greetings as they are typed, and the rest."""
    return _typed_greetings(rng) if rng.random() < 0.3 else document(rng)
