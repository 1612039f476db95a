"""The rules of the runner: what it reads from a page, and the programs that it creates from it."""

import subprocess
import sys
from pathlib import Path

import pytest

import programs
from blocks import PageError, parse
from links import broken_links
from run import Program, Workshop, run_program

PAGE = Path("docs/page.md")


def blocks(text):
    return parse(text, PAGE)


def problems(text):
    with pytest.raises(PageError) as caught:
        blocks(text)
    return caught.value.problems


def test_blocks_in_tabs_lose_their_indentation_and_know_their_line():
    page = '=== "Python"\n\n    ```python title="a.py"\n    if x:\n        y\n    ```\n'
    (block,) = blocks(page)
    assert (block.language, block.source, block.line) == ("python", "if x:\n    y\n", 4)


def test_fences_of_four_may_contain_fences_of_three():
    (block,) = blocks("````bash\n```\n````\n")
    assert block.source == "```\n"


def test_attribute_lists_name_a_language():
    assert blocks("```{.python .annotate}\n1\n```\n")[0].language == "python"


def test_blocks_with_a_reason_are_skipped():
    page = '=== "GPU"\n\n    <!-- not run: needs a GPU -->\n    ```python\n    1\n    ```\n'
    assert blocks(page)[0].skip_reason == "needs a GPU"


@pytest.mark.parametrize(
    ("page", "line", "word"),
    [
        ("```\nx\n```\n", 1, "no language"),
        ("text\n\n```powershell\nx\n```\n", 3, "powershell"),
        ("<!-- not run -->\n```bash\nx\n```\n", 1, "why"),
        ("<!-- not run: reason -->\n\ntext\n", 1, "no code block"),
        ("<!-- output -->\n```text\nx\n```\n", 2, "no block before"),
        ("<!-- input -->\n```text\nx\n```\n", 2, "no block before"),
        ("```python\n1\n```\n<!-- output -->\n```json\n1\n```\n", 5, "`text`"),
        ("```python\n1\n", 1, "never closed"),
    ],
)
def test_rule_violations_report_their_line(page, line, word):
    ((at, text),) = problems(page)
    assert at == line
    assert word in text


def test_an_unknown_language_with_a_reason_is_skipped():
    assert blocks("<!-- not run: for Windows -->\n```powershell\nx\n```\n")[0].skip_reason == "for Windows"


def test_data_blocks_are_not_run():
    assert blocks("```json\n{}\n```\n```text\nx\n```\n") == []


def test_output_belongs_to_the_block_before():
    page = "```python\n1\n```\n\nIt prints:\n\n<!-- output -->\n```text\nhello\n```\n"
    assert blocks(page)[0].expected == "hello\n"


def test_output_after_tabs_belongs_to_the_last_block_of_each():
    page = (
        '=== "A"\n\n    ```python\n    1\n    ```\n\n    ```python\n    2\n    ```\n\n'
        '=== "B"\n\n    ```js\n    3\n    ```\n\n<!-- output -->\n```text\nx\n```\n'
    )
    assert [block.expected for block in blocks(page)] == [None, "x\n", "x\n"]


def test_output_of_a_tab_overrides_output_of_all_tabs():
    page = (
        '=== "A"\n\n    ```bash\n    echo 1\n    ```\n\n    <!-- output -->\n    ```text\n    1\n    ```\n\n'
        '=== "B"\n\n    ```js\n    3\n    ```\n\n<!-- output -->\n```text\nx\n```\n'
    )
    assert [block.expected for block in blocks(page)] == ["1\n", "x\n"]


def test_a_second_group_of_tabs_is_another_group():
    page = (
        '=== "A"\n\n    ```python\n    1\n    ```\n\ntext\n\n'
        '=== "A"\n\n    ```python\n    2\n    ```\n\n<!-- output -->\n```text\nx\n```\n'
    )
    assert [block.expected for block in blocks(page)] == [None, "x\n"]


def test_code_keeps_the_page_s_line_numbers():
    page = blocks("text\n\n```rust\nlet a = 1;\n```\n\n```rust\nlet a = a + 1;\n```\n")
    lines = programs.rust(page).splitlines()
    assert (lines[3], lines[7]) == ("let a = 1;", "let a = a + 1;")


def test_rust_blocks_nest_hide_lines_and_may_have_a_main(tmp_path):
    page = blocks(
        "```rust\nuse std::fmt::Write;\nlet a = 1;\n# let hidden = 2;\n```\n"
        '```rust\nfn main() -> Result<(), std::fmt::Error> {\n    println!("main");\n    Ok(())\n}\n```\n'
        '```rust\nuse std::fmt::Write;\nlet a = a + hidden;\nlet b: i32 = "4".parse()?; // a comment\n'
        'println!("{a} {b}");\n# Ok::<_, std::fmt::Error>(())\n```\n'
    )
    source, binary = tmp_path / "page.rs", tmp_path / "page"
    source.write_text(programs.rust(page))
    subprocess.run(["rustc", "--edition", "2024", source, "-o", binary], check=True)
    done = subprocess.run([binary], capture_output=True, text=True, check=True)
    assert programs.split_output(done.stdout) == {0: "", 1: "main\n", 2: "3 4\n"}


def test_imports_are_merged():
    page = blocks(
        "```js\nimport { A } from 'm';\n```\n```js\nimport { A, B as C } from 'm';\nimport * as fs from 'fs'\n```\n"
    )
    program = programs.javascript(page)
    assert 'import { A, B as C } from "m";' in program
    assert 'import * as fs from "fs";' in program
    assert "import { A } from 'm'" not in program


def test_sessions_are_commands_and_output():
    session = "$ echo a \\\n> b\na b\n"
    assert programs.console_commands(session).split("\n")[:2] == ["echo a \\", "b"]
    assert programs.console_output(session) == "a b\n"


# --- programs that run, without models -----------------------------------------------------------


@pytest.fixture
def workshop(tmp_path):
    return Workshop(tmp_path)


def run(workshop, language, text):
    return [outcome.failure for outcome in run_program(Program(language, blocks(text)), workshop)]


def test_python_blocks_share_names_and_output_is_compared(workshop):
    page = "```python\nx = 2\n```\n```python\nprint(x)\n```\n<!-- output -->\n```text\n2\n```\n"
    assert run(workshop, "python", page) == [None, None]


def test_input_is_for_the_block_before(workshop):
    page = "```bash\ncat\n```\n<!-- input -->\n```text\nhello\n```\n<!-- output -->\n```text\nhello\n```\n"
    assert run(workshop, "shell", page) == [None]
    assert run(workshop, "shell", "```bash\ncat\n```\n<!-- output -->\n```text\n```\n") == [None]


def test_a_wrong_output_fails(workshop):
    page = "```python\nprint(3)\n```\n<!-- output -->\n```text\n2\n```\n```python\npass\n```\n"
    wrong, after = run(workshop, "python", page)
    assert "printed:\n3" in wrong
    assert after is None


def test_a_failure_names_the_page_s_line_and_ends_the_program(workshop):
    page = "```python\npass\n```\n\n```python\n\n1 / 0\n```\n```python\npass\n```\n"
    before, failed, after = run(workshop, "python", page)
    assert before is None
    assert "docs/page.md" in failed
    assert "line 7" in failed
    assert "not reached" in after


def test_javascript_blocks_nest_and_may_declare_again(workshop):
    page = (
        "```js\nimport { sep } from 'node:path';\nconst a = await Promise.resolve(1);\n```\n"
        "```js\nconst path = require('node:path');\nconsole.log(a, path.sep === sep);\n```\n"
        "<!-- output -->\n```text\n1 true\n```\n"
        "```js\nconst a = 5;\nconsole.log(a);\n```\n<!-- output -->\n```text\n5\n```\n"
    )
    assert run(workshop, "javascript", page) == [None, None, None]


def test_javascript_errors_name_the_page_s_line(workshop):
    (failure,) = run(workshop, "javascript", "```js\n\nthrow new Error('x')\n```\n")
    assert "docs/page.md:3" in failure


def test_require_and_top_level_await_are_rejected(workshop):
    (failure,) = run(workshop, "javascript", "```js\nconst a = require('fs');\nawait a;\n```\n")
    assert "await" in failure


def test_shell_stops_at_the_first_failure(workshop):
    page = "```bash\nx=1\n```\n```bash\necho $x\nfalse | true\necho no\n```\n"
    before, failed = run(workshop, "shell", page)
    assert before is None
    assert "line 6" in failed


def test_sessions_are_compared(workshop):
    assert run(workshop, "shell", "```console\n$ echo a\na\n```\n") == [None]
    (failure,) = run(workshop, "shell", "```console\n$ echo a\nb\n```\n")
    assert "printed:\na" in failure


# --- links ---------------------------------------------------------------------------------------


def test_links_must_resolve(tmp_path):
    (tmp_path / "other.md").write_text("# Some `code` here\n\n## Again\n\n## Again\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md) [b](other.md#some-code-here) [c](#own) [d](https://example.org/x) [e](other.md#again-1)\n"
        "`[no](link.md)`\n\n# Own\n\n```text\n[no](link.md)\n```\n\n[f](missing.md) [g](other.md#nowhere)\n\n[h]: gone.md\n"
    )
    assert [(line, target) for line, target, _ in broken_links(page)] == [
        (10, "missing.md"),
        (10, "other.md#nowhere"),
        (12, "gone.md"),
    ]


def test_the_summary_adds_up(tmp_path):
    root = Path(__file__).resolve().parents[2]
    (tmp_path / "rust.log").write_text(
        "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n"
        "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n"
    )
    (tmp_path / "rust.status").write_text("101\n")
    (tmp_path / "python.log").write_text("==== 1 failed, 5 passed, 2 skipped, 1 warning in 0.12s ====\n")
    (tmp_path / "python.status").write_text("1\n")
    (tmp_path / "node.log").write_text("ℹ tests 4\nℹ pass 4\nℹ fail 0\nℹ cancelled 0\nℹ skipped 0\nℹ todo 0\n")
    (tmp_path / "node.status").write_text("0\n")
    (tmp_path / "docs.log").write_text("docs: 7 passed, 0 failed, 2 skipped\n")
    (tmp_path / "docs.status").write_text("1\n")
    done = subprocess.run(
        [sys.executable, root / "tests" / "summary.py", "--logs", tmp_path, "rust", "python", "node", "docs"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "rust: 4 passed, 1 failed, 1 skipped" in done.stdout
    assert "docs: 7 passed, 1 failed, 2 skipped" in done.stdout  # the exit status indicates a failure
    assert done.stdout.splitlines()[-1] == "total: 20 passed, 3 failed, 5 skipped"
