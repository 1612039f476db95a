"""The names that other projects use refer to existing options, those of llama-cpp-python are complete, and the page of
each project is listed wherever such pages are."""

import json
import re
from pathlib import Path

import pytest
from mullama import _native

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = json.loads((ROOT / "crates/mullama-core/data/other_names.json").read_text(encoding="utf-8"))
OPTIONS = {name for _, name, *_ in _native._option_specs()}
PLACES = [(project["project"], place) for project in PROJECTS for place in project["places"]]

# The arguments of llama-cpp-python 0.3.
LLAMA = """
    model_path n_gpu_layers split_mode main_gpu tensor_split vocab_only use_mmap use_mlock kv_overrides seed n_ctx
    n_batch n_ubatch n_threads n_threads_batch rope_scaling_type pooling_type attention_type rope_freq_base
    rope_freq_scale yarn_ext_factor yarn_attn_factor yarn_beta_fast yarn_beta_slow yarn_orig_ctx logits_all embedding
    offload_kqv flash_attn op_offload swa_full no_perf last_n_tokens_size lora_base lora_scale lora_path numa
    chat_format chat_handler draft_model tokenizer type_k type_v spm_infill verbose
""".split()
CREATE_CHAT_COMPLETION = """
    messages functions function_call tools tool_choice temperature top_p top_k min_p typical_p stream stop seed
    response_format max_tokens presence_penalty frequency_penalty repeat_penalty tfs_z mirostat_mode mirostat_tau
    mirostat_eta model logits_processor grammar logit_bias logprobs top_logprobs
""".split()


@pytest.mark.parametrize(("project", "place"), PLACES, ids=[f"{name} {place['place']}" for name, place in PLACES])
def test_entries(project, place):
    names = [name for entry in place["entries"] for name in entry["names"]]
    assert len(names) == len(set(names)), f"{project}: a name stands twice"
    for entry in place["entries"]:
        assert entry.keys() <= {"names", "option", "note"}
        assert "option" in entry or "note" in entry, entry["names"]
        assert entry.get("option", "seed") in OPTIONS, entry["option"]


@pytest.mark.parametrize(
    ("place", "arguments"), [("`Llama(...)`", LLAMA), ("`create_chat_completion(...)`", CREATE_CHAT_COMPLETION)]
)
def test_llama_cpp_python_is_complete(place, arguments):
    (entries,) = (found["entries"] for name, found in PLACES if name == "llama-cpp-python" and found["place"] == place)
    assert [name for entry in entries for name in entry["names"]] == arguments


@pytest.mark.parametrize("path", ["mkdocs.yml", "docs/index.md", "docs/compare.md"])
def test_the_page_of_each_project_is_listed(path):
    listed = set(re.findall(r"\bcoming-from/([\w-]+\.md)", (ROOT / path).read_text(encoding="utf-8")))
    assert listed == {page.name for page in (ROOT / "docs/coming-from").iterdir()}
    assert len(listed) == len(PROJECTS)
