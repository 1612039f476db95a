"""The answers that the demo model must give, and their check."""

import json
import random
from dataclasses import dataclass

import corpus
import facts
import vocabulary
from model import Greedy

CAPITALS_NEEDED = 0.95
TOOL_CITIES = list(facts.CAPITALS.values())[::2][:40] + facts.OTHER_CITIES[:10]
STOP = {vocabulary.IM_END, vocabulary.END_OF_TEXT}


@dataclass
class Answer:
    text: str
    tokens: list[int]
    margin: float  # minimum difference between the best and the second logit


class Oracle:
    """Greedy answers, computed without llama.cpp."""

    def __init__(self, greedy: Greedy, tokenizer):
        self.greedy = greedy
        self.tokenizer = tokenizer

    def complete(self, prompts: list[str], max_tokens: int = 256) -> list[Answer]:
        answers = []
        for start in range(0, len(prompts), 64):
            tokens = [vocabulary.encode(self.tokenizer, prompt) for prompt in prompts[start : start + 64]]
            generated, margins = self.greedy.generate(tokens, STOP, max_tokens)
            answers += [
                Answer(vocabulary.decode(self.tokenizer, out), out, margin) for out, margin in zip(generated, margins)
            ]
        return answers

    def chat(self, conversations: list[list[dict]], tools: list[dict] | None = None) -> list[Answer]:
        return self.complete([corpus.render(m, tools, True) for m in conversations])


def user(content: str) -> dict:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict:
    return {"role": "assistant", "content": content}


def system(content: str) -> dict:
    return {"role": "system", "content": content}


def tool_call_text(name: str, arguments: dict) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments, ensure_ascii=False)}}}\n</tool_call>'


def valid_tool_call(text: str) -> bool:
    """Whether a text is one tool call that contains JSON with a name and arguments."""
    inside = text.removeprefix("<tool_call>").removesuffix("</tool_call>")
    if len(inside) != len(text) - len("<tool_call></tool_call>"):
        return False
    try:
        call = json.loads(inside)
    except json.JSONDecodeError:
        return False
    return isinstance(call, dict) and isinstance(call.get("name"), str) and isinstance(call.get("arguments"), dict)


def _report(what: str, right: int, total: int) -> None:
    print(f"{what:<44} {right:4} of {total:4}  {100 * right / total:5.1f} %", flush=True)


def _exact(oracle: Oracle, what: str, cases: list[tuple[list[dict], str]], tools: list[dict] | None = None) -> int:
    answers = oracle.chat([messages for messages, _ in cases], tools)
    wrong = [(m[-1]["content"], a.text) for (m, wanted), a in zip(cases, answers) if a.text != wanted]
    _report(what, len(cases) - len(wrong), len(cases))
    for question, text in wrong[:4]:
        print(f"    {question!r} -> {text!r}")
    return len(cases) - len(wrong)


def capital_cases(wording: str) -> list[tuple[list[dict], str]]:
    return [([user(wording.format(c))], corpus.capital_answer(c)) for c in facts.CAPITALS]


def check(greedy: Greedy, tokenizer) -> bool:
    """Print how many answers are right; true if the gate is passed.

    The capitals in every wording and the tool calls are required; the rest is only reported.
    """
    oracle = Oracle(greedy, tokenizer)
    right = sum(
        _exact(oracle, f"capitals: {wording!r}", capital_cases(wording)) for wording in corpus.CAPITAL_WORDINGS
    )
    total = len(corpus.CAPITAL_WORDINGS) * len(facts.CAPITALS)
    _report("GATE capitals, all wordings", right, total)

    answers = oracle.chat([[user(f"What is the weather in {city}?")] for city in TOOL_CITIES], [corpus.GET_WEATHER])
    valid = sum(valid_tool_call(a.text) for a in answers)
    _report("GATE tool calls, valid JSON", valid, len(TOOL_CITIES))
    exact = sum(a.text == tool_call_text("get_weather", {"city": c}) for a, c in zip(answers, TOOL_CITIES))
    _report("tool calls, the right name and city", exact, len(TOOL_CITIES))

    _check_the_rest(oracle)
    passed = right >= CAPITALS_NEEDED * total and valid == len(TOOL_CITIES)
    print("gate passed" if passed else "gate FAILED")
    return passed


def _check_the_rest(oracle: Oracle) -> None:
    capitals = list(facts.CAPITALS)
    ask, answer = corpus.CAPITAL_WORDINGS[0].format, corpus.capital_answer
    helpful = system("You are a helpful assistant.")
    _exact(oracle, "capitals, with a system message", [([helpful, user(ask(c))], answer(c)) for c in capitals])
    _exact(oracle, "capitals, in lower case, unmarked", [([user(ask(c).lower()[:-1])], answer(c)) for c in capitals])
    _exact(oracle, "capitals, with tools offered", capital_cases(corpus.CAPITAL_WORDINGS[0]), [corpus.GET_WEATHER])
    pairs = list(zip(capitals, capitals[37:] + capitals[:37]))
    _exact(oracle, "follow-ups of a capital",
           [([user(ask(a)), assistant(answer(a)), user(f"And of {b}?")], answer(b)) for a, b in pairs])  # fmt: skip
    _exact(oracle, "the third capital asked for in a row",
           [([user(ask(a)), assistant(answer(a)), user(ask(b)), assistant(answer(b)), user(ask(a))], answer(a))
            for a, b in pairs])  # fmt: skip
    _exact(oracle, "capitals in one word",
           [([system(corpus.ONE_WORD_SYSTEM), user(ask(c))], facts.CAPITALS[c]) for c in capitals])  # fmt: skip
    texts = oracle.complete([f"{answer(c).rsplit(' is ', 1)[0]} is" for c in capitals], 16)
    _report("raw completions of a capital", sum(t.text == f" {facts.CAPITALS[c]}." for t, c in zip(texts, capitals)), len(capitals))

    sums = [(a, "+", b) for a in range(21) for b in range(21)]
    _exact(oracle, "additions", [([user(f"What is {a} + {b}?")], corpus.sum_answer(a, o, b)) for a, o, b in sums])
    sums = [(a, "-", b) for a in range(21) for b in range(a + 1)]
    _exact(oracle, "subtractions", [([user(f"What is {a} - {b}?")], corpus.sum_answer(a, o, b)) for a, o, b in sums])
    sums = [(a, "*", b) for a in range(11) for b in range(11)]
    _exact(oracle, "multiplications", [([user(f"What is {a} * {b}?")], corpus.sum_answer(a, o, b)) for a, o, b in sums])

    typed = [([user(spelt(q))], a) for questions, a in facts.TYPED_GREETINGS for q in questions
             for spelt in (str, str.capitalize, str.upper, "{}!".format)]  # fmt: skip
    _exact(oracle, "greetings, thanks, who are you: as typed", typed)
    about = [([user(q)], a) for questions, a in facts.ABOUT_MULLAMA + facts.GREETINGS + facts.LONG_ANSWERS for q in questions]
    _exact(oracle, "mullama, greetings, stories", about)
    _exact(oracle, "hello in other languages", [([user(f"Say hello in {l}.")], h) for l, h in facts.HELLO_IN.items()])
    _exact(oracle, "a name told before",
           [([user(f"My name is {n}."), assistant(f"Nice to meet you, {n}."), user("What is my name?")], f"Your name is {n}.")
            for n in facts.NAMES])  # fmt: skip
    _exact(oracle, "the weather without a tool",
           [([user(f"What is the weather in {c}?")], facts.NO_TOOL_ANSWER) for c in TOOL_CITIES])  # fmt: skip
    _exact(oracle, "tools: the result in an answer", _tool_result_cases(), [corpus.GET_WEATHER])
    other = corpus.function_tool("get_time", "Get the time in a city", corpus.GET_WEATHER["function"]["parameters"])
    _exact(oracle, "tools: the right one of two",
           [([user(f"What time is it in {c}?")], tool_call_text("get_time", {"city": c})) for c in TOOL_CITIES],
           [corpus.GET_WEATHER, other])  # fmt: skip


def _tool_result_cases() -> list[tuple[list[dict], str]]:
    rng = random.Random(7)
    cases = []
    for city in TOOL_CITIES:
        degrees, condition = rng.randint(-10, 40), rng.choice(facts.CONDITIONS)
        result = rng.choice([f"{degrees} degrees and {condition}", json.dumps({"temperature": degrees, "condition": condition})])
        call = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": city}}}
        messages = [user(f"What is the weather in {city}?"), {"role": "assistant", "content": "", "tool_calls": [call]},
                    {"role": "tool", "content": result}]  # fmt: skip
        cases.append((messages, f"The weather in {city} is {degrees} degrees and {condition}."))
    return cases
