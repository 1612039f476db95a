"""Writes the test vectors, which any build of mullama must reproduce with demo.gguf.

They come from the `tokenizers` library, from Python's jinja2 and from the forward pass in
`model.py`, so they are independent of llama.cpp.
"""

import json
from pathlib import Path

import corpus
import facts
import vocabulary
from gate import TOOL_CITIES, Oracle, assistant, system, tool_call_text, user
from model import Greedy

# An answer is included only if each of its tokens leads by this much, because backends round differently.
LEAST_MARGIN = 0.75
COMPLETION_TOKENS = 16

_TEXTS = [
    "", " ", "  ", "   \n  ", "\n", "\n\n\n", "\t", "\r\n", " \t \r\n ", "a", "Hello", " Hello", "Hello, world!",
    "The capital of France is Paris.", "the capital of france is paris", "THE CAPITAL OF FRANCE",
    "What is the weather in Ouagadougou?", "Chișinău, Malé, Bogotá, Brasília, Lomé, Yaoundé",
    "It's we're they'll I've I'm he'd don't can't", "IT'S WE'RE THEY'LL I'VE",
    "0", "1234567890", "3.14159265358979", "7 + 5 = 12.", "-10 degrees", "2026-11-21T07:47:00Z", "1,000,000.50 €",
    "½ ² ⅷ Ⅻ ٣ 五 ೬", "こんにちは世界", "你好，世界！", "안녕하세요 세계", "Привет, мир!", "Γειά σου Κόσμε",
    "مرحبا بالعالم", "नमस्ते दुनिया", "שלום עולם", "สวัสดีชาวโลก", "Zażółć gęślą jaźń", "naïve café résumé",
    "cafe\u0301 (combining)", "🙂", "Here you are: 🙂👍🏽 👨‍👩‍👧‍👦 🇫🇷", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈", "\u200bzero\u200dwidth\ufeff",
    "non\u00a0breaking\u2003em\u3000ideographic", "def add(a, b):\n    return a + b\n",
    "fn main() {\n\tprintln!(\"{}\", 1 << 4);\n}\n", "for (let i = 0; i < 10; i++) { a[i] ??= b?.c; }",
    '{"name": "get_weather", "arguments": {"city": "Paris"}}', "<html><body class='x'>&amp;</body></html>",
    "https://example.org/path?query=1&other=two#part", "C:\\Users\\demo\\file.gguf", "SELECT * FROM t WHERE a >= 1;",
    "!!!???...---___***", "a" * 200, "ab " * 100, " " * 64, "=" * 80, "    indented\n        more\n\tand a tab",
    "trailing space ", " leading space", "many   spaces    between     words", "Mullama runs GGUF models.",
]  # fmt: skip
_TEXTS_WITH_MARKS = [
    "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n", "<|endoftext|>", "a<|endoftext|>b", " <|im_end|> ",
    "<|im_end", "<tool_call>\n{}\n</tool_call>", "<tool_response>18</tool_response>", "<|im_start|><|im_start|>",
]  # fmt: skip


def _tokenize(tokenizer) -> list[dict]:
    cases = [{"text": t, "parse_special": False, "tokens": vocabulary.encode(tokenizer, t, False)} for t in _TEXTS]
    for text in _TEXTS_WITH_MARKS:
        for parse_special in (False, True):
            tokens = vocabulary.encode(tokenizer, text, parse_special)
            cases.append({"text": text, "parse_special": parse_special, "tokens": tokens})
    for case in cases:
        assert vocabulary.decode(tokenizer, case["tokens"]) == case["text"], case
    return cases


def _weather_call(city: str) -> dict:
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": {"city": city}}}
        ],
    }


def _tool_result(content: str) -> dict:
    return {"role": "tool", "tool_call_id": "call_1", "content": content}


_GET_TIME = corpus.function_tool(
    "get_time",
    "Get the time in a city",
    {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "Name of the city"}},
        "required": ["city"],
    },
)
_HELPFUL = system("You are a helpful assistant.")


def _chat() -> list[dict]:
    weather = [corpus.GET_WEATHER]
    paris = user("What is the weather in Paris?")
    cases = [
        ([user("Hello!")], None, True),
        ([user("Hello!")], None, False),
        ([_HELPFUL, user("What is 7 + 5?")], None, True),
        ([system(""), user("Hi")], None, True),
        ([user("Hi"), assistant("Hello! How can I help you?"), user("What is mullama?")], None, True),
        ([user("Hi"), system("Be brief."), user("What is GGUF?")], None, True),
        ([user("  spaces and\nlines  "), assistant("  kept \n")], None, False),
        ([user("¿Qué? こんにちは 🙂 <b>\"quoted\" & 'single'</b>")], None, True),
        ([paris], weather, True),
        ([_HELPFUL, paris], weather, True),
        ([paris, _weather_call("Paris")], weather, False),
        ([paris, _weather_call("Bogotá"), _tool_result('{"temperature": 18, "condition": "sunny"}')], weather, True),
        ([paris, _weather_call("Paris"), _tool_result("18 degrees"), _tool_result("sunny")], weather, True),
        ([paris, {**_weather_call("Paris"), "content": "I will look."}, _tool_result("18"), assistant("It is 18.")],
         weather, False),
        ([user("What time is it in Malé?")],
         [corpus.GET_WEATHER, _GET_TIME, corpus.function_tool("f", 'A "quoted" <tag>, é', {"type": "object", "properties": {}})],
         True),
    ]  # fmt: skip
    return [_case(messages, tools) | {"add_generation_prompt": generation,
                                      "prompt": corpus.render(messages, tools, generation)}
            for messages, tools, generation in cases]  # fmt: skip


def _case(messages: list[dict], tools: list[dict] | None) -> dict:
    return {"messages": messages} | ({"tools": tools} if tools else {})


def _conversations() -> list[tuple[list[dict], list[dict] | None]]:
    france, italy = corpus.capital_answer("France"), corpus.capital_answer("Italy")
    paris = user("What is the weather in Paris?")
    weather, both = [corpus.GET_WEATHER], [corpus.GET_WEATHER, _GET_TIME]
    about = [([user(questions[0])], None) for questions, _ in facts.ABOUT_MULLAMA + facts.GREETINGS + facts.LONG_ANSWERS]
    ask = corpus.CAPITAL_WORDINGS[0].format
    return about + [
        ([_HELPFUL, user(ask("France"))], None),
        ([_HELPFUL, user("Who are you?")], None),
        ([user(ask("France")), assistant(france), user("And of Italy?")], None),
        ([user(ask("France")), assistant(france), user("What about Japan?")], None),
        ([user(ask("France")), assistant(france), user("And of Italy?"), assistant(italy), user("And Spain?")], None),
        ([user(ask("France")), assistant(france), user("Which continent is it in?")], None),
        ([user("Which continent is Peru in?"), assistant("Peru is in South America."), user("And Kenya?")], None),
        ([user("Hello!"), assistant("Hello! How can I help you?"), user("What is 7 + 5?")], None),
        ([user("What is 7 + 5?"), assistant("7 + 5 = 12."), user("And plus 3?")], None),
        ([user("My name is Anna."), assistant("Nice to meet you, Anna."), user("What is my name?")], None),
        ([user("My name is Anna."), assistant("Nice to meet you, Anna."), user(ask("France")), assistant(france),
          user("What is my name?")], None),
        ([system(corpus.ONE_WORD_SYSTEM), user(ask("France"))], None),
        ([user("What is 9 - 4?")], None),
        ([user("What is 6 * 7?")], None),
        ([user("Paris is the capital of which country?")], None),
        ([user("Give me the capital of France as JSON.")], None),
        ([user("Say hello in Japanese.")], None),
        ([user("Say hello in Russian.")], None),
        ([user("Who painted the Mona Lisa?")], None),
        ([paris], None),
        ([user(ask("France"))], weather),
        ([user("Hello!")], weather),
        ([_HELPFUL, paris], weather),
        ([user("What time is it in Tokyo?")], both),
        ([user("What is the weather in Tokyo?")], both),
        ([paris, _weather_call("Paris"), _tool_result("18 degrees and sunny")], weather),
        ([paris, _weather_call("Paris"), _tool_result('{"temperature": 18, "condition": "sunny"}')], weather),
        ([paris, _weather_call("Paris"), _tool_result('{"city":"Paris","temperature":-3,"condition":"snowy"}')], weather),
        ([paris, _weather_call("Paris"), _tool_result("18 degrees and sunny"),
          assistant("The weather in Paris is 18 degrees and sunny."), user("And in Rome?")], weather),
    ]  # fmt: skip


_COMPLETIONS = [
    "The capital of France is", "The capital of Japan is", "The capital of the Netherlands is", "Berlin is the capital of",
    "Q: What is the capital of Spain?\nA:", "7 + 5 =", "Once upon a time", "1, 2, 3,", "Mullama runs", "Monday, Tuesday,",
    "France: Paris\nItaly:", "A B C D",
]  # fmt: skip


def _greedy(oracle: Oracle) -> dict:
    dropped = []

    def keep(case: dict, answer) -> list[dict]:
        """The case with its answer; nothing if rounding might change it."""
        if answer.margin >= LEAST_MARGIN:
            return [case | {"text": answer.text}]
        dropped.append(case)
        return []

    capitals = []
    questions = [corpus.CAPITAL_WORDINGS[0].format(country) for country in facts.CAPITALS]
    for (country, capital), question, answer in zip(
        facts.CAPITALS.items(), questions, oracle.chat([[user(q)] for q in questions])
    ):
        if answer.text == corpus.capital_answer(country):
            capitals += keep({"question": question, "country": country, "capital": capital}, answer)

    chat = []
    for messages, tools in _conversations():
        chat += keep(_case(messages, tools), oracle.chat([messages], tools)[0])

    completions = []
    for prompt, answer in zip(_COMPLETIONS, oracle.complete(_COMPLETIONS, COMPLETION_TOKENS)):
        completions += keep({"prompt": prompt, "max_tokens": COMPLETION_TOKENS}, answer)

    calls = []
    questions = [f"What is the weather in {city}?" for city in TOOL_CITIES]
    for city, question, answer in zip(
        TOOL_CITIES, questions, oracle.chat([[user(q)] for q in questions], [corpus.GET_WEATHER])
    ):
        if answer.text == tool_call_text("get_weather", {"city": city}):
            calls += keep({"question": question, "call": {"name": "get_weather", "arguments": {"city": city}}}, answer)

    for case in dropped:
        print(f"left out, too close: {case}")
    return {"capitals": capitals, "chat": chat, "completions": completions,
            "tools": [corpus.GET_WEATHER], "tool_calls": calls}  # fmt: skip


def write(folder: Path, greedy: Greedy, tokenizer) -> None:
    """demo_tokenize.json, demo_chat.json and demo_greedy.json."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "demo_tokenize": _tokenize(tokenizer),
        "demo_chat": _chat(),
        "demo_greedy": _greedy(Oracle(greedy, tokenizer)),
    }
    for name, content in contents.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        print(path)
