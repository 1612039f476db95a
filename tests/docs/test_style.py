"""The style check finds words in prose and comments, and ignores code."""

import pytest

import style

PAGE = """\
# A page

The cache holds tokens,
`and keeps` them: thresholds and placeholders
are fine.

```python
print("the program tells")
```

<!-- table: made -->

| what it tells |

<!-- end -->
"""


def found(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return [(line, words) for line, words, _ in style.findings(path)]


def test_markdown(tmp_path):
    assert found(tmp_path, "page.md", PAGE) == [(3, "holds")]


def test_python(tmp_path):
    text = '"""What holds."""\n\nKEPT = "kept"  # it tells\n\n\ndef f():\n    """A\n    tale told."""\n'
    assert found(tmp_path, "module.py", text) == [(1, "holds"), (8, "told")]


def test_rust(tmp_path):
    text = (
        "//! A module.\n\n// This keeps.\n/// It keeps `what it keeps`.\nfn keep() {}\n"
        'const ADDRESS: &str = "http://tells"; // This tells.\n'
    )
    assert found(tmp_path, "lib.rs", text) == [(3, "keeps"), (4, "keeps"), (6, "tells")]


@pytest.mark.parametrize("name", ["kernel.h", "shim.cpp"])
def test_cpp(tmp_path, name):
    assert found(tmp_path, name, "int keep; // holds\n  // told\n") == [(1, "holds"), (2, "told")]


def test_manifests(tmp_path):
    text = '# This holds.\nkeep = "a # that tells"\n'
    assert found(tmp_path, "Cargo.toml", text) == [(1, "holds")]


def test_sources_are_read():
    read = style.tracked(*style.READ)
    for name in ("Cargo.toml", "crates/mullama-core/src/lib.rs", "crates/mullama-sys/kernels/tile.h"):
        assert name in read


def test_typescript(tmp_path):
    text = "/**\n * What it tells.\n */\n// It tells.\nconst tells = '/* tells */';\n/** anew */\n"
    assert found(tmp_path, "index.ts", text) == [(2, "tells"), (6, "anew")]


def test_every_rule_names_what_to_write():
    for avoid, write in style.RULES:
        assert write and not avoid.search(write), avoid.pattern


def test_spelling(tmp_path, monkeypatch, capfd):
    (tmp_path / "page.md").write_text("A lang" + "auge.\n")
    monkeypatch.setattr(style, "ROOT", tmp_path)
    monkeypatch.setattr(style, "tracked", lambda *_: ["page.md"])
    assert style.misspellings() != 0
    assert "language" in capfd.readouterr().out


@pytest.mark.parametrize("name", sorted(style.EXEMPT))
def test_exempt_files_exist(name):
    assert (style.ROOT / name).is_file()
