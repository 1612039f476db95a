"""Output in notebooks: results as HTML, and progress bars."""

import re
import sys
import types
from typing import ClassVar

import mullama
import pytest
from conftest import USER
from mullama import AsyncModel, Model, _progress


def test_completions_show_text_and_statistics(demo):
    shown = demo.chat([USER], temperature=0)._repr_html_()
    assert ">The capital of France is Paris.<" in shown
    assert re.search(r"stop · \d+ tokens · [\d.]+ tokens/s", shown)
    shown = demo.generate("One, two,", max_tokens=3, temperature=0)._repr_html_()
    assert "length · 3 tokens" in shown


def test_text_of_models_is_escaped(demo):
    markup = "<script>alert(1)</script>"
    answer = demo.generate("x", grammar=f'root ::= "{markup}"')
    assert answer.text == markup
    assert markup not in answer._repr_html_()
    assert "&lt;script&gt;" in answer._repr_html_()
    # Arguments of calls, and what a plan refuses.
    parameters = {"type": "object", "properties": {"a": {"const": markup}}, "required": ["a"]}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    answer = demo.chat([USER], tools=[tool], tool_choice="required", max_tokens=100)
    assert markup in answer.message.tool_calls[0].function.arguments
    assert markup not in answer._repr_html_()
    assert "&lt;script&gt;" in answer._repr_html_()


def test_calls_of_tools_are_shown(demo):
    def get_weather(city: str) -> str:
        """Get the weather in a city"""
        return city

    question = {"role": "user", "content": "What is the weather in Paris?"}
    answer = demo.chat([question], tools=[get_weather], temperature=0)
    assert answer.finish_reason == "tool_calls"
    assert "<code>get_weather({" in answer._repr_html_()


def test_plans_and_placements_are_tables(demo):
    plan = mullama.plan("demo", devices="RTX 4090", n_gpu_layers=-1, context_size=512)
    shown = plan._repr_html_()
    names = re.findall(r"<tr><td>([^<]*)</td><td>(\d+)</td>", shown)
    assert names == [(device.name, str(device.layers)) for device in [*plan.devices, plan.host]]
    assert "9 of 9 layers on GPUs" in shown
    assert "tokens/s predicted" in shown
    refused = mullama.plan("demo", devices="1MiB", n_gpu_layers=-1)
    assert not refused.fits
    assert "does not fit" in refused._repr_html_()
    shown = demo.placement._repr_html_()
    assert shown.count("<tr>") == 1 + len(demo.placement.devices)
    assert "<td>CPU</td><td>9</td>" in shown


class Bar:
    """A fake tqdm with the part of its interface that is used."""

    made: ClassVar[list["Bar"]] = []

    def __init__(self, **options):
        self.options = options
        self.n, self.total = 0, options["total"]
        self.shown = []
        self.is_closed = False
        Bar.made.append(self)

    def update(self, more):
        self.n += more
        self.shown.append((self.n, self.total))

    def close(self):
        self.is_closed = True


@pytest.fixture
def tqdm(monkeypatch):
    Bar.made = []
    package, auto = types.ModuleType("tqdm"), types.ModuleType("tqdm.auto")
    auto.tqdm = Bar
    package.auto = auto
    monkeypatch.setitem(sys.modules, "tqdm", package)
    monkeypatch.setitem(sys.modules, "tqdm.auto", auto)
    return Bar.made


@pytest.fixture
def no_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)


def test_loading_shows_a_line_of_text_without_tqdm(no_tqdm, capsys):
    Model("demo", n_threads=1, progress=True).close()
    shown = capsys.readouterr().err
    assert shown.endswith("loading [##############################] 100%\n")
    assert "\r" in shown
    Model("demo", n_threads=1).close()
    Model("demo", n_threads=1, progress=False).close()
    assert capsys.readouterr().err == ""


def test_loading_shows_the_bar_of_tqdm(tqdm, capsys):
    Model("demo", n_threads=1, progress=True).close()
    (bar,) = tqdm
    assert bar.options["desc"] == "loading"
    assert bar.options["delay"] == 0
    assert bar.shown[-1][0] == 100
    assert bar.is_closed
    assert capsys.readouterr().err == ""


def test_notebooks_show_bars_by_default(tqdm, monkeypatch):
    import asyncio

    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    Model("demo", n_threads=1).close()
    asyncio.run(AsyncModel.load("demo", n_threads=1))
    assert [bar.shown[-1][0] for bar in tqdm] == [100, 100]
    # An operation that completes immediately shows no bar.
    assert all(bar.options["delay"] > 0 for bar in tqdm)
    Model("demo", n_threads=1, progress=False).close()
    Model("demo", n_threads=1, progress=lambda _: None).close()
    assert len(tqdm) == 2


def test_a_bar_that_fails_fails_loading(tqdm, monkeypatch):
    monkeypatch.setattr(Bar, "update", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Model("demo", n_threads=1, progress=True)


def test_the_bar_of_tqdm_itself(capsys):
    Model("demo", n_threads=1, progress=True).close()
    shown = capsys.readouterr().err
    assert "loading: 100%" in shown
    assert shown.endswith("\n")
    show = _progress.loading_bar(True)
    for step in range(101):
        show(step / 100)
    assert capsys.readouterr().err == "", "it ends before the delay"
    show = _progress.pull_bar(False)
    for step in STEPS:
        show(step)
    assert "done: 100%" in capsys.readouterr().err


class Step:
    """The progress of a pull."""

    def __init__(self, phase, completed, total):
        self.phase, self.completed, self.total = phase, completed, total


STEPS = [Step("resolving", 0, 0), Step("downloading", 50, 200), Step("done", 200, 200)]


def test_a_pull_shows_a_bar(tqdm):
    show = _progress.pull_bar(False)
    for step in STEPS:
        show(step)
    (bar,) = tqdm
    assert bar.shown == [(0, 0), (50, 200), (200, 200)]
    assert bar.options["unit"] == "B"
    assert bar.is_closed


def test_a_pull_shows_a_line_of_text_without_tqdm(no_tqdm, capsys):
    show = _progress.pull_bar(False)
    for step in STEPS:
        show(step)
    lines = re.split("[\r\n]+", capsys.readouterr().err.strip())
    assert lines[1] == "downloading [########......................]  25%"
    assert lines[-1].rstrip() == "done [##############################] 100%"


def test_default_progress_bar_appears_late(no_tqdm, capsys):
    show = _progress.pull_bar(True)
    for step in STEPS:
        show(step)
    assert capsys.readouterr().err == ""


def test_interrupted_progress_bars_end_their_line(no_tqdm, capsys):
    with pytest.raises(mullama.MullamaError):
        Model("no-such-model", progress=True)
    show = _progress.loading_bar(False)
    show(0.5)
    del show
    assert capsys.readouterr().err.endswith(" 50%\n")


def test_invalid_progress_is_rejected():
    with pytest.raises(TypeError, match="progress is a function, True or False, not int"):
        Model("demo", progress=1)
