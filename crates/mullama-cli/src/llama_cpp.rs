//! The flags of llama.cpp and `ik_llama.cpp`, and their equivalents in mullama. Parsing, help and a page of the
//! documentation are derived from this table.

use std::path::Path;

use clap::Arg;
use mullama_base::{folders, read_file};
use serde_json::{Map, Value};

/// Maximum size in bytes of a file that a flag reads.
const MAX_FILE_SIZE: u64 = 16 << 20;

/// A flag of llama.cpp or `ik_llama.cpp`.
pub struct Flag {
    /// The spellings of the flag.
    pub names: &'static [&'static str],
    /// The value after the flag.
    pub takes: Takes,
    /// The equivalent in mullama.
    pub meaning: Meaning,
}

/// The kind of value after a flag.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// A value.
    Value,
    /// Two values.
    Two,
    /// Optionally one of these words.
    Word(&'static [&'static str]),
}

/// The equivalent of a flag in mullama.
pub enum Meaning {
    /// The model, with this prefix added.
    Model(&'static str),
    /// The file in the model's repository.
    File,
    /// A flag of mullama with the same value.
    Ours(&'static str),
    /// A flag of mullama with this fixed value.
    Fixed(&'static str, &'static str),
    /// A flag of mullama for which some values are converted. `None` omits the flag.
    Converted(&'static str, fn(&str) -> Option<String>),
    /// A flag of mullama whose value has another syntax.
    Rewritten(&'static str, fn(&str) -> Result<String, String>),
    /// Several flags of mullama with their values; the first one is named.
    Several(&'static str, fn(&str) -> Result<Pairs, String>),
    /// A flag of mullama with the content of a file.
    Read(&'static str),
    /// The part for keys (0) or values (1) of a flag of mullama that has both.
    Half(&'static str, usize),
    /// Entries of the JSON object of a flag of mullama. Several flags add to the same object.
    Entries(&'static str, fn(&str) -> Result<Map<String, Value>, String>),
    /// The behaviour is the default in mullama.
    Already(&'static str),
    /// No effect in mullama; the user is shown the reason.
    Unused(&'static str),
    /// Not supported; the text names an alternative.
    Refused(&'static str),
    /// A flag of the server.
    Server,
    /// A flag of a program without equivalent in mullama.
    Tool,
}

/// Flags of mullama and their values.
pub type Pairs = &'static [(&'static str, &'static str)];

use Meaning::{
    Already, Converted, Entries, File, Fixed, Half, Model, Ours, Read, Refused, Rewritten, Server,
    Several, Tool, Unused,
};

/// The message for a flag of the server.
pub const SERVER: &str = "it configures a server, and mullama has none yet; use `mullama run`, or the library in your own program";
/// The message for a flag of another program.
pub const TOOL: &str = "it belongs to a program of llama.cpp that mullama has no counterpart of";

const fn flag(names: &'static [&'static str], takes: Takes, meaning: Meaning) -> Flag {
    Flag { names, takes, meaning }
}

/// A flag with a value.
const fn valued(names: &'static [&'static str], meaning: Meaning) -> Flag {
    flag(names, Takes::Value, meaning)
}

/// A flag without a value.
const fn bare(names: &'static [&'static str], meaning: Meaning) -> Flag {
    flag(names, Takes::Nothing, meaning)
}

/// A flag with an optional switch word.
const fn switched(names: &'static [&'static str], meaning: Meaning) -> Flag {
    flag(names, Takes::Word(SWITCH), meaning)
}

/// The switch words.
const SWITCH: &[&str] = &[
    "on", "off", "auto", "1", "0", "true", "false", "enabled", "disabled", "enable", "disable",
    "yes", "no",
];

const DRAFT: &str =
    "tokens are drafted by a draft model (--draft-model) or by prompt lookup (--prompt-lookup N)";
const DRAFT_TENSORS: &str = "a draft model is placed by layers: use --draft-gpu-layers N";
const MEDIA: &str =
    "sound, videos and limits of pictures' tokens are not supported yet; --image takes pictures";
const YARN: &str = "set the model's own metadata: --metadata-overrides '{\"llama.rope.scaling.type\": \"yarn\", ...}'";
const AFFINITY: &str = "run the command under taskset, numactl or nice";
const FUSED: &str = "the engine fuses operations by itself";
const EXCHANGE: &str = "the engine chooses the type of the data that GPUs exchange";
const HADAMARD: &str = "the engine decides itself whether quantised caches are rotated";
const LOG: &str = "the log is written to standard error; MULLAMA_LOG sets its level: error, warn, info, debug or trace";

/// All flags, grouped as on the page of the documentation.
pub const GROUPS: &[(&str, &[Flag])] = &[
    ("The model", MODEL),
    ("The prompt and the conversation", PROMPT),
    ("Devices and placement", PLACEMENT),
    ("Context and computation", CONTEXT),
    ("Sampling", SAMPLING),
    ("Chat", CHAT),
    ("Output", OUTPUT),
    ("Speculation, media, embeddings", OTHER_MODELS),
    ("Servers", SERVERS),
    ("Other programs", TOOLS),
];

const MODEL: &[Flag] = &[
    valued(&["-m", "--model"], Model("")),
    valued(&["-hf", "-hfr", "--hf-repo"], Model("hf.co/")),
    valued(&["-hff", "--hf-file"], File),
    valued(&["-mu", "--model-url"], Model("")),
    valued(
        &["-hft", "--hf-token"],
        Refused("set HF_TOKEN in the environment; other users can read command lines"),
    ),
    valued(
        &["-dr", "--docker-repo"],
        Refused("use a name of Ollama's registry or hf.co/USER/REPO"),
    ),
    bare(&["--offline"], Fixed("no-pull", "")),
    valued(&["--lora"], Ours("lora")),
    valued(&["--lora-scaled"], Rewritten("lora", scaled)),
    bare(&["--lora-init-without-apply"], Server),
    valued(&["--control-vector"], Refused("control vectors are not supported")),
    flag(&["--control-vector-scaled"], Takes::Value, Refused("control vectors are not supported")),
    flag(
        &["--control-vector-layer-range"],
        Takes::Two,
        Refused("control vectors are not supported"),
    ),
    valued(&["-okv", "--override-kv"], Entries("metadata-overrides", overrides)),
    bare(&["--check-tensors", "-vq", "--validate-quants"], Fixed("check-tensors", "true")),
];

const PROMPT: &[Flag] = &[
    valued(&["-p", "--prompt"], Ours("prompt")),
    valued(&["-f", "--file", "--in-file"], Ours("prompt-file")),
    valued(&["-bf", "--binary-file"], Refused("a prompt is text; use -f FILE")),
    bare(&["-e", "--escape"], Already("escape sequences in -p and -f are always processed")),
    bare(&["--no-escape"], Ours("no-escape")),
    valued(&["-sys", "--system-prompt"], Ours("system")),
    valued(&["-sysf", "-spf", "--system-prompt-file"], Read("system")),
    valued(&["--prompt-cache"], Ours("prompt-cache")),
    bare(&["--prompt-cache-ro"], Ours("prompt-cache-ro")),
    bare(&["--prompt-cache-all"], Already("the answer is always saved with the prompt")),
    bare(
        &["-cnv", "--conversation", "-i", "--interactive", "-if", "--interactive-first"],
        Unused("a conversation starts if there is no prompt"),
    ),
    bare(&["-no-cnv", "--no-conversation"], Fixed("raw", "")),
    bare(&["-st", "--single-turn"], Already("a prompt gets one answer, and the command ends")),
    bare(&["-mli", "--multiline-input"], Unused("\"\"\" starts and ends a text of several lines")),
    valued(&["-r", "--reverse-prompt"], Ours("stop")),
    bare(
        &["--in-prefix-bos"],
        Refused("messages are formatted by the chat template; use --chat-template"),
    ),
    valued(
        &["--in-prefix", "--in-suffix"],
        Refused("messages are formatted by the chat template; use --chat-template"),
    ),
    bare(&["--infill", "--spm-infill"], Refused("infilling is not supported yet")),
    valued(&["--keep"], Unused("there is no context shift, so the prompt always stays")),
    switched(
        &["--context-shift"],
        Refused("there is no context shift; set a larger context with -c"),
    ),
    bare(&["--no-context-shift"], Already("there is no context shift")),
];

const PLACEMENT: &[Flag] = &[
    valued(&["-ngl", "--gpu-layers", "--n-gpu-layers"], Ours("n-gpu-layers")),
    valued(&["-sm", "--split-mode"], Converted("split-mode", split_mode)),
    valued(&["-ts", "--tensor-split"], Converted("tensor-split", shares)),
    valued(&["-mg", "--main-gpu"], Ours("main-gpu")),
    valued(&["--max-gpu"], Ours("max-gpu")),
    valued(&["-dev", "--device"], Ours("device")),
    valued(&["--rpc"], Ours("rpc")),
    valued(&["-ot", "--override-tensor"], Ours("override-tensor")),
    bare(&["-cmoe", "--cpu-moe"], Ours("cpu-moe")),
    valued(&["-ncmoe", "--n-cpu-moe"], Ours("n-cpu-moe")),
    valued(
        &["-ncffn", "--n-cpu-ffn"],
        Refused("use -ot 'blk\\.(0|1|2)\\.ffn_.*=CPU' with the numbers of the layers"),
    ),
    bare(&["--mmap"], Fixed("use-mmap", "true")),
    bare(&["--no-mmap"], Fixed("use-mmap", "false")),
    bare(&["--mlock"], Fixed("use-mlock", "true")),
    valued(&["-lm", "--load-mode"], Several("use-mmap", load_mode)),
    bare(&["-dio", "--direct-io"], Unused("direct I/O is not supported; files are mapped or read")),
    bare(
        &["-ndio", "--no-direct-io"],
        Already("direct I/O is not supported; files are mapped or read"),
    ),
    valued(&["-lzm", "--lazy-mode"], Unused("mapped weights are loaded on first use")),
    switched(
        &["-fit", "--fit"],
        Unused("options that you leave out are fitted, options that you set are not changed"),
    ),
    valued(
        &["-fitt", "--fit-target", "--fit-margin", "-gfm", "--gpu-fit-margin"],
        Unused("the environment variable MULLAMA_GPU_MEMORY limits the memory of each GPU"),
    ),
    valued(
        &["-fitc", "--fit-ctx"],
        Unused("a context that you leave out is reduced only if necessary; -c sets it"),
    ),
    switched(&["-fitp", "--fit-print"], Refused("use `mullama plan`")),
    bare(&["--dry-run"], Refused("use `mullama plan`")),
    bare(&["--list-devices"], Refused("use `mullama devices`")),
    valued(&["--numa"], Unused(AFFINITY)),
    bare(&["--op-offload"], Already("long prompts are always computed on the GPU")),
    bare(
        &["--no-op-offload"],
        Unused("set GGML_OP_OFFLOAD_MIN_BATCH to a large number in the environment"),
    ),
    bare(&["--no-host"], Unused("the engine chooses its buffer types")),
    bare(&["--repack"], Already("weights are always repacked for the CPU if that is faster")),
    bare(&["-nr", "--no-repack"], Fixed("cpu-kernels", "engine")),
    bare(
        &["-rtr", "--run-time-repack"],
        Already("weights are always repacked for the CPU if that is faster"),
    ),
    valued(
        &["-cuda", "--cuda-params"],
        Rewritten("cuda", |text| Ok(text.replace("offload-batch-size", "offload-min-batch"))),
    ),
    valued(
        &["-grt", "--graph-reduce-type"],
        Unused("GPUs exchange results as bf16; --cuda allreduce-type=f32 changes that"),
    ),
    valued(&["-gap", "--graph-attn-precision"], Unused(EXCHANGE)),
    bare(&["-smf16", "--split-mode-f16", "-smf32", "--split-mode-f32"], Unused(EXCHANGE)),
    bare(
        &["-smgs", "--split-mode-graph-scheduling", "-sas", "--scheduler-async"],
        Unused("the engine schedules GPU work by itself"),
    ),
    valued(
        &["-op", "--offload-policy"],
        Unused("the engine decides itself which operations are offloaded"),
    ),
    bare(
        &["-no-ooae", "--no-offload-only-active-experts", "-ooae", "--offload-only-active-experts"],
        Unused("the engine decides itself which operations are offloaded"),
    ),
    valued(
        &["-wgt", "--worst-graph-tokens"],
        Unused("compute buffers are sized for a full batch; -ub reduces them"),
    ),
    bare(
        &["-thp", "--transparent-huge-pages"],
        Unused("huge pages are left to the operating system"),
    ),
    bare(
        &["--defer-experts", "--prefetch-experts"],
        Unused("mapped weights are loaded on first use"),
    ),
    valued(&["--prefetch-experts-threads"], Unused("mapped weights are loaded on first use")),
    bare(
        &["-mqkv", "--merge-qkv", "-muge", "--merge-up-gate-experts"],
        Unused("tensors are used as stored in the file"),
    ),
    valued(
        &["-mea", "--max-extra-alloc"],
        Unused("compute buffers are sized for a full batch; -ub reduces them"),
    ),
];

const CONTEXT: &[Flag] = &[
    valued(&["-c", "--ctx-size", "--context-size"], Ours("context-size")),
    valued(&["-b", "--batch-size"], Ours("batch-size")),
    valued(&["-ub", "--ubatch-size"], Ours("ubatch-size")),
    valued(&["-t", "--threads", "--n-threads"], Converted("n-threads", or_default)),
    valued(
        &["-tb", "--threads-batch", "--n-threads-batch"],
        Converted("n-threads-batch", or_default),
    ),
    valued(&["-np", "--parallel", "--n-parallel"], Converted("n-parallel", or_default)),
    valued(&["-ctk", "--cache-type-k"], Half("kv-cache-type", 0)),
    valued(&["-ctv", "--cache-type-v"], Half("kv-cache-type", 1)),
    flag(
        &["-fa", "--flash-attn", "--flash-attention"],
        Takes::Word(SWITCH),
        Converted("flash-attention", switch_or_auto),
    ),
    bare(&["-no-fa", "--no-flash-attn"], Fixed("flash-attention", "off")),
    bare(&["-kvo", "--kv-offload"], Fixed("offload-kqv", "true")),
    bare(&["-nkvo", "--no-kv-offload"], Fixed("offload-kqv", "false")),
    bare(&["--swa-full"], Ours("swa-full")),
    bare(
        &["--swa-compress"],
        Already("sliding-window layers only have cells for their window by default"),
    ),
    valued(&["-cram", "--cache-ram"], Ours("cache-ram")),
    valued(
        &["-cms", "--checkpoint-min-step", "-ctx-ckpt-i", "--ctx-checkpoints-interval"],
        Converted("checkpoint-every", or_none),
    ),
    valued(
        &["-ctxcp", "--ctx-checkpoints", "--swa-checkpoints", "-ctx-ckpt"],
        Unused("--cache-ram limits the memory of checkpoints"),
    ),
    valued(
        &[
            "-ctx-ckpt-t",
            "--ctx-checkpoints-tolerance",
            "-ctx-ckpt-e",
            "--ctx-checkpoints-eviction",
        ],
        Unused("use --checkpoint-every and --cache-ram"),
    ),
    valued(
        &["-crs", "--cache-ram-similarity", "-cram-n-min", "--cache-ram-n-min"],
        Unused("cached prefixes are always found by their tokens"),
    ),
    bare(&["-kvu", "--kv-unified"], Already("all requests always share one KV cache")),
    bare(&["-no-kvu", "--no-kv-unified"], Unused("all requests always share one KV cache")),
    valued(&["--kv-unified-per-slot"], Unused("all requests always share one KV cache")),
    bare(&["-cb", "--cont-batching"], Already("continuous batching is always on")),
    bare(&["-nocb", "--no-cont-batching"], Unused("continuous batching is always on")),
    bare(&["--cache-prompt", "--cache-idle-slots"], Already("common prefixes are computed once")),
    bare(&["--no-cache-prompt", "--no-cache-idle-slots"], Fixed("prefix-cache", "0")),
    valued(&["--cache-reuse"], Unused("common prefixes are reused; later parts are recomputed")),
    valued(&["-dt", "--defrag-thold"], Unused("the KV cache is never fragmented")),
    bare(&["--warmup"], Fixed("warmup", "true")),
    bare(&["--no-warmup"], Fixed("warmup", "false")),
    valued(&["--rope-freq-base"], Ours("rope-freq-base")),
    valued(&["--rope-freq-scale"], Ours("rope-freq-scale")),
    valued(&["--rope-scale"], Rewritten("rope-freq-scale", inverse)),
    valued(
        &[
            "--rope-scaling",
            "--yarn-orig-ctx",
            "--yarn-ext-factor",
            "--yarn-attn-factor",
            "--yarn-beta-slow",
            "--yarn-beta-fast",
        ],
        Refused(YARN),
    ),
    valued(
        &["-gan", "--grp-attn-n", "-gaw", "--grp-attn-w"],
        Refused("self-extend is not supported; use a model with a longer training context"),
    ),
    valued(
        &["-C", "--cpu-mask", "-Cr", "--cpu-range", "--cpu-strict", "--prio", "--poll"],
        Unused(AFFINITY),
    ),
    valued(
        &[
            "-Cb",
            "--cpu-mask-batch",
            "-Crb",
            "--cpu-range-batch",
            "--cpu-strict-batch",
            "--prio-batch",
            "--poll-batch",
        ],
        Unused(AFFINITY),
    ),
    valued(
        &["-amb", "--attention-max-batch"],
        Unused("-ub limits the size of the attention buffers"),
    ),
    valued(&["-mla", "--mla-use"], Unused("MLA is used if the model has it")),
    bare(
        &[
            "-fmoe",
            "--fused-moe",
            "-no-fmoe",
            "--no-fused-moe",
            "-no-fug",
            "--no-fused-up-gate",
            "-no-mmad",
            "--no-fused-mul-multiadd",
            "-fdn",
            "--fused-delta-net",
        ],
        Unused(FUSED),
    ),
    bare(&["-ger", "--grouped-expert-routing"], Unused("routing follows the model's architecture")),
    bare(&["-gr", "--graph-reuse"], Already("graphs are always reused")),
    bare(&["-no-gr", "--no-graph-reuse"], Unused("graphs are always reused")),
    bare(&["-rcache", "--rope-cache"], Unused(FUSED)),
    valued(
        &["-ser", "--smart-expert-reduction"],
        Refused(
            "use --metadata-overrides '{\"ARCHITECTURE.expert_used_count\": 4}' to use fewer experts",
        ),
    ),
    bare(&["-khad", "--k-cache-hadamard", "-vhad", "--v-cache-hadamard"], Unused(HADAMARD)),
    valued(&["-ictk", "--indexer-cache-type-k"], Unused("use -ctk for all keys")),
    valued(
        &[
            "-ctk-first",
            "--cache-type-k-first",
            "-ctk-last",
            "--cache-type-k-last",
            "-ctv-first",
            "--cache-type-v-first",
            "-ctv-last",
            "--cache-type-v-last",
        ],
        Refused("all layers use the same types; use -ctk and -ctv"),
    ),
    bare(
        &["-dsa", "--dsa", "-fidx", "--fused-indexer-topk"],
        Unused("attention follows the model's architecture"),
    ),
    valued(&["-dsatk", "--dsa-top-k"], Refused("use --metadata-overrides")),
    bare(&["-dkvc", "--dump-kv-cache"], Refused("use `stats()` in Python, Node.js or Rust")),
];

const SAMPLING: &[Flag] = &[
    valued(&["-n", "--predict", "--n-predict", "--max-tokens"], Converted("max-tokens", or_none)),
    valued(&["-s", "--seed"], Converted("seed", or_none)),
    valued(&["--temp", "--temperature"], Converted("temperature", at_least_0)),
    valued(&["--top-k"], Ours("top-k")),
    valued(&["--top-p"], Ours("top-p")),
    valued(&["--min-p"], Ours("min-p")),
    valued(&["--top-nsigma", "--top-n-sigma"], Ours("top-n-sigma")),
    valued(&["--typical", "--typical-p"], Ours("typical-p")),
    valued(&["--xtc-probability"], Ours("xtc-probability")),
    valued(&["--xtc-threshold"], Ours("xtc-threshold")),
    valued(&["--repeat-last-n"], Ours("repeat-last-n")),
    valued(&["--repeat-penalty"], Ours("repeat-penalty")),
    valued(&["--presence-penalty"], Ours("presence-penalty")),
    valued(&["--frequency-penalty"], Ours("frequency-penalty")),
    valued(&["--dry-multiplier"], Ours("dry-multiplier")),
    valued(&["--dry-base"], Ours("dry-base")),
    valued(&["--dry-allowed-length"], Ours("dry-allowed-length")),
    valued(&["--dry-penalty-last-n"], Ours("dry-penalty-last-n")),
    valued(&["--dry-sequence-breaker"], Ours("dry-sequence-breakers")),
    valued(&["--dynatemp-range"], Ours("dynatemp-range")),
    valued(&["--dynatemp-exp"], Ours("dynatemp-exponent")),
    valued(&["--mirostat"], Ours("mirostat")),
    valued(&["--mirostat-lr"], Ours("mirostat-eta")),
    valued(&["--mirostat-ent"], Ours("mirostat-tau")),
    valued(&["-l", "--logit-bias"], Entries("logit-bias", bias)),
    bare(&["--ignore-eos"], Ours("ignore-eos")),
    valued(&["--grammar"], Ours("grammar")),
    valued(&["--grammar-file"], Read("grammar")),
    valued(&["-j", "--json-schema"], Ours("json-schema")),
    valued(&["-jf", "--json-schema-file"], Ours("format")),
    valued(&["--samplers"], Converted("samplers", samplers)),
    valued(
        &["--sampler-seq", "--sampling-seq"],
        Refused("name the samplers: --samplers top_k,temperature"),
    ),
    valued(&["--adaptive-target"], Converted("adaptive-p", adaptive)),
    valued(&["--adaptive-decay"], Ours("adaptive-p-decay")),
    valued(&["--adaptive-updt-w-cur"], Refused("the engine has no such setting")),
    valued(&["--tfs"], Refused("llama.cpp has removed tail-free sampling; use --min-p")),
    bare(&["--penalize-nl"], Refused("use --logit-bias for single tokens")),
    bare(&["-bs", "--backend-sampling"], Unused("sampling runs on the CPU")),
    valued(
        &["--cfg-negative-prompt", "--cfg-negative-prompt-file", "--cfg-scale"],
        Refused("classifier-free guidance is not supported"),
    ),
    valued(
        &[
            "--banned-string-file",
            "--banned-n",
            "--expiring-logit-bias-file",
            "--allowlist-unicode-rule",
            "--allowlist-pieces",
            "--allowlist-keyword",
            "--allowlist-keyword-delay",
        ],
        Refused("use --logit-bias for single tokens, --grammar or --json-schema for formats"),
    ),
];

const CHAT: &[Flag] = &[
    bare(&["--jinja", "--peg"], Already("chat templates are always Jinja")),
    bare(&["--no-jinja"], Unused("chat templates are always Jinja")),
    valued(&["--chat-template"], Ours("chat-template")),
    valued(&["--chat-template-file"], Read("chat-template")),
    valued(&["--chat-template-kwargs"], Ours("template-kwargs")),
    flag(&["-rea", "--reasoning"], Takes::Word(SWITCH), Converted("reasoning", switch)),
    valued(&["--reasoning-budget"], Converted("reasoning-budget", or_none)),
    valued(
        &["--reasoning-format", "--reasoning-tokens"],
        Unused("reasoning is always separated from the answer"),
    ),
    valued(
        &["--reasoning-effort"],
        Refused("use --template-kwargs '{\"reasoning_effort\": \"high\"}'"),
    ),
    valued(
        &["--reasoning-budget-message"],
        Refused("reasoning always ends with the tag of the model's template"),
    ),
    bare(
        &["--reasoning-preserve", "--no-reasoning-preserve"],
        Unused("the chat template decides whether earlier reasoning is included"),
    ),
    bare(&["--skip-chat-parsing"], Fixed("raw", "")),
    bare(
        &["--no-skip-chat-parsing", "--prefill-assistant"],
        Already("answers are always parsed, and continue the assistant's last message"),
    ),
    bare(
        &["--no-prefill-assistant"],
        Unused("answers always continue the assistant's last message"),
    ),
    bare(&["-ptcall"], Fixed("parallel-tool-calls", "true")),
    bare(&["-sp", "--special"], Unused("special tokens are never part of the text")),
];

const OUTPUT: &[Flag] = &[
    bare(&["--perf", "--show-timings"], Fixed("verbose", "")),
    bare(&["--no-perf", "--no-show-timings"], Already("times are only printed with -v")),
    bare(&["--display-prompt", "--verbose-prompt"], Unused("the prompt is never printed")),
    bare(&["--no-display-prompt"], Already("the prompt is never printed")),
    switched(&["-co", "--color"], Unused("answers are never coloured")),
    bare(&["--simple-io"], Already("answers are always plain text")),
    bare(&["--log-disable"], Already("only warnings and errors are logged by default")),
    bare(
        &[
            "--log-enable",
            "--log-test",
            "--log-new",
            "--log-append",
            "--minilog",
            "--log-jsonl",
            "--no-log-jsonl",
        ],
        Unused(LOG),
    ),
    bare(
        &["--log-prefix", "--no-log-prefix", "--log-timestamps", "--no-log-timestamps"],
        Unused(LOG),
    ),
    switched(&["--log-colors"], Unused("set NO_COLOR in the environment to disable colours")),
    valued(
        &["--log-file", "-ld", "--logdir", "--log-prompts-dir", "--log-format"],
        Refused("the log is written to standard error; use 2> FILE"),
    ),
    valued(&["-lv", "--verbosity", "--log-verbosity"], Unused(LOG)),
    bare(&["--log-verbose"], Unused(LOG)),
    valued(&["-ptc", "--print-token-count"], Unused("-v prints the number of tokens")),
    bare(&["-cl", "--cache-list"], Refused("use `mullama list`")),
    bare(&["--completion-bash"], Refused("use `mullama completions bash`")),
    bare(&["--usage"], Refused("use `mullama help run`")),
];

const OTHER_MODELS: &[Flag] = &[
    valued(&["-md", "--model-draft", "--spec-draft-model"], Ours("draft-model")),
    valued(
        &["-hfd", "-hfrd", "--hf-repo-draft", "--spec-draft-hf"],
        Rewritten("draft-model", |repository| Ok(format!("hf.co/{repository}"))),
    ),
    valued(&["--draft", "--draft-n", "--draft-max", "--spec-draft-n-max"], Ours("draft-max")),
    valued(
        &["-ngld", "--gpu-layers-draft", "--n-gpu-layers-draft", "--spec-draft-ngl"],
        Ours("draft-gpu-layers"),
    ),
    valued(&["-devd", "--device-draft", "--spec-draft-device"], Ours("draft-device")),
    valued(
        &[
            "--draft-min",
            "--draft-n-min",
            "--spec-draft-n-min",
            "--draft-p-min",
            "--spec-draft-p-min",
            "--draft-p-split",
            "--spec-draft-p-split",
            "-ps",
            "--p-split",
            "--spec-draft-sampling",
        ],
        Unused(
            "the number of drafted tokens follows how many are accepted, and how long steps take",
        ),
    ),
    valued(
        &[
            "-td",
            "--threads-draft",
            "--spec-draft-threads",
            "-tbd",
            "--threads-batch-draft",
            "--spec-draft-threads-batch",
        ],
        Unused("the draft model uses the threads of the model"),
    ),
    valued(
        &["-cd", "--ctx-size-draft"],
        Unused("the draft model has the context size of the model"),
    ),
    valued(
        &[
            "-ctkd",
            "--cache-type-k-draft",
            "--spec-draft-type-k",
            "-ctvd",
            "--cache-type-v-draft",
            "--spec-draft-type-v",
        ],
        Unused("the KV cache of a draft model is f16"),
    ),
    valued(
        &[
            "-otd",
            "--override-tensor-draft",
            "--spec-draft-override-tensor",
            "-ncmoed",
            "--n-cpu-moe-draft",
            "--spec-draft-n-cpu-moe",
            "--spec-draft-ncmoe",
        ],
        Refused(DRAFT_TENSORS),
    ),
    bare(&["-cmoed", "--cpu-moe-draft", "--spec-draft-cpu-moe"], Refused(DRAFT_TENSORS)),
    valued(
        &[
            "-draft",
            "--draft-params",
            "--spec-type",
            "--spec-stage",
            "--spec-ckpt-mode",
            "--recurrent-ckpt-mode",
            "-mtprot",
            "--mtp-requantize-output-tensor",
        ],
        Refused(DRAFT),
    ),
    bare(
        &[
            "--mtp",
            "-mtp",
            "--multi-token-prediction",
            "--eagle3",
            "--dflash",
            "--spec-default",
            "--spec-autotune",
        ],
        Refused(DRAFT),
    ),
    bare(
        &["--spec-draft-backend-sampling", "--no-spec-draft-backend-sampling"],
        Unused("tokens are sampled by the processor"),
    ),
    bare(
        &["-no-mtp", "--no-multi-token-prediction"],
        Already("there is no multi-token prediction"),
    ),
    flag(&["--spec-replace"], Takes::Two, Refused(DRAFT)),
    valued(
        &[
            "-Cd",
            "--cpu-mask-draft",
            "--spec-draft-cpu-mask",
            "-Crd",
            "--cpu-range-draft",
            "--spec-draft-cpu-range",
            "--cpu-strict-draft",
            "--spec-draft-cpu-strict",
            "--prio-draft",
            "--spec-draft-prio",
            "--poll-draft",
            "--spec-draft-poll",
            "-Cbd",
            "--cpu-mask-batch-draft",
            "--spec-draft-cpu-mask-batch",
            "-Crbd",
            "--cpu-range-batch-draft",
            "--spec-draft-cpu-range-batch",
            "--cpu-strict-batch-draft",
            "--spec-draft-cpu-strict-batch",
            "--prio-batch-draft",
            "--spec-draft-prio-batch",
            "--poll-batch-draft",
            "--spec-draft-poll-batch",
        ],
        Unused(AFFINITY),
    ),
    valued(
        &[
            "--spec-synth-len",
            "--spec-synth-rates",
            "--suffix-pattern-len",
            "--suffix-max-depth",
            "--suffix-corpus",
        ],
        Refused(DRAFT),
    ),
    valued(
        &[
            "-lcs",
            "--lookup-cache-static",
            "-lcd",
            "--lookup-cache-dynamic",
            "--spec-ngram-mod-n-min",
            "--spec-ngram-mod-n-max",
            "--spec-ngram-mod-n-match",
            "--spec-ngram-simple-size-n",
            "--spec-ngram-simple-size-m",
            "--spec-ngram-simple-min-hits",
            "--spec-ngram-map-k-size-n",
            "--spec-ngram-map-k-size-m",
            "--spec-ngram-map-k-min-hits",
            "--spec-ngram-map-k4v-size-n",
            "--spec-ngram-map-k4v-size-m",
            "--spec-ngram-map-k4v-min-hits",
            "--spec-ngram-size-n",
            "--spec-ngram-size-m",
            "--spec-ngram-min-hits",
        ],
        Refused("use --prompt-lookup N, which needs no further settings"),
    ),
    valued(&["--image"], Ours("image")),
    valued(&["-mm", "--mmproj"], Ours("mmproj")),
    valued(&["-mmu", "--mmproj-url"], Refused("download it, and give its file with --mmproj")),
    valued(&["--audio", "--video"], Refused(MEDIA)),
    valued(&["-mmdev", "--mmproj-device"], Unused("projectors compute on the processor")),
    valued(
        &[
            "--image-min-tokens",
            "--image-max-tokens",
            "--mtmd-batch-max-tokens",
            "--mtmd-kq-type",
            "-tm",
            "--threads-mtmd",
            "--video-fps",
            "--video-timestamp-interval",
            "--video-ffmpeg-dir",
        ],
        Refused(MEDIA),
    ),
    bare(&["--mmproj-auto"], Already("the projector next to the model is found")),
    bare(&["--mmproj-offload"], Unused("projectors compute on the processor")),
    bare(&["--no-mmproj", "--no-mmproj-auto"], Fixed("mmproj", "none")),
    bare(&["--no-mmproj-offload"], Already("projectors compute on the processor")),
    bare(
        &["--embedding", "--embeddings", "--rerank", "--reranking"],
        Refused("use `embed` or `rerank` in Python, Node.js or Rust"),
    ),
    valued(
        &[
            "--pooling",
            "--attention",
            "--embd-normalize",
            "--embd-output-format",
            "--embd-separator",
            "--cls-separator",
        ],
        Refused("use the options of `embed` in Python, Node.js or Rust"),
    ),
];

const SERVERS: &[Flag] = &[
    valued(
        &[
            "--host",
            "--port",
            "--path",
            "--api-prefix",
            "--api-key",
            "--api-key-file",
            "--ssl-key-file",
            "--ssl-cert-file",
            "-a",
            "--alias",
            "--tags",
            "-to",
            "--threads-http",
            "--sse-ping-interval",
            "--slot-save-path",
            "--media-path",
            "-sps",
            "--slot-prompt-similarity",
            "--models-dir",
            "--models-preset",
            "--models-max",
            "--sleep-idle-seconds",
            "--tools-runtime",
            "--mcp-servers-config",
            "--mcp-servers-json",
            "--ui-config",
            "--webui-config",
            "--ui-config-file",
            "--webui-config-file",
            "--cors-origins",
            "--cors-methods",
            "--cors-headers",
            "--server-base",
            "--sql-save-file",
            "--sqlite-zstd-ext-file",
        ],
        Server,
    ),
    bare(
        &[
            "--reuse-port",
            "--cors-credentials",
            "--no-cors-credentials",
            "--ui-mcp-proxy",
            "--webui-mcp-proxy",
            "--no-ui-mcp-proxy",
            "--no-webui-mcp-proxy",
            "-ag",
            "--agent",
            "-no-ag",
            "--no-agent",
            "--ui",
            "--no-ui",
            "--webui",
            "--no-webui",
            "--metrics",
            "--props",
            "--slots",
            "--no-slots",
            "--models-autoload",
            "--no-models-autoload",
            "--send-done",
        ],
        Server,
    ),
];

const TOOLS: &[Flag] = &[
    valued(
        &[
            "--hellaswag-tasks",
            "--winogrande-tasks",
            "--multiple-choice-tasks",
            "--save-all-logits",
            "--kl-divergence-base",
            "--ppl-stride",
            "--ppl-output-type",
            "--chunks",
            "--chunk",
            "--from-chunk",
            "-ns",
            "--sequences",
            "--context-file",
            "--chunk-size",
            "--chunk-separator",
            "--junk",
            "--pos",
            "-o",
            "--output",
            "--output-file",
            "--output-draft",
            "--draft-output",
            "--draft-output-file",
            "-ofreq",
            "--output-frequency",
            "--output-format",
            "--output-tensor-name",
            "--save-frequency",
            "-npp",
            "-ntg",
            "-npl",
            "-nrep",
            "--n-repetitions",
            "--sweep-stride",
            "--positive-file",
            "--negative-file",
            "--pca-batch",
            "--pca-iter",
            "--method",
            "--tts-lang",
            "--tts-speaker-file",
            "--diffusion-steps",
            "--diffusion-eps",
            "--diffusion-algorithm",
            "--diffusion-alg-temp",
            "--diffusion-block-length",
            "--diffusion-cfg-scale",
            "--diffusion-add-gumbel-noise",
            "-lr",
            "--learning-rate",
            "-lr-min",
            "--learning-rate-min",
            "-decay-epochs",
            "--learning-rate-decay-epochs",
            "-wd",
            "--weight-decay",
            "-val-split",
            "--val-split",
            "-epochs",
            "--epochs",
            "-opt",
            "--optimizer",
            "--logits-output-dir",
            "--tensor-filter",
        ],
        Tool,
    ),
    bare(
        &[
            "--hellaswag",
            "--winogrande",
            "--multiple-choice",
            "--kl-divergence",
            "--perplexity",
            "--all-logits",
            "--ppl",
            "--no-ppl",
            "--process-output",
            "--nextn",
            "--show-statistics",
            "--ids",
            "--stdin",
            "--no-bos",
            "--show-count",
            "-pps",
            "-tgs",
            "-wb",
            "--warmup-batch",
            "--sweep-memory",
            "--diffusion-visual",
            "--check",
            "--save-logits",
        ],
        Tool,
    ),
    bare(
        &[
            "--embd-gemma-default",
            "--fim-qwen-1.5b-default",
            "--fim-qwen-3b-default",
            "--fim-qwen-7b-default",
            "--fim-qwen-7b-spec",
            "--fim-qwen-14b-spec",
            "--fim-qwen-30b-default",
            "--gpt-oss-20b-default",
            "--gpt-oss-120b-default",
            "--vision-gemma-4b-default",
            "--vision-gemma-12b-default",
        ],
        Refused("name the model, as in `mullama run hf.co/USER/REPO`"),
    ),
];

/// All flags.
pub fn flags() -> impl Iterator<Item = &'static Flag> {
    GROUPS.iter().flat_map(|(_, flags)| *flags)
}

/// The flag with this spelling.
pub fn find(name: &str) -> Option<&'static Flag> {
    flags().find(|flag| flag.names.contains(&name))
}

/// The other spellings of a flag of mullama, whose name is passed without dashes.
pub fn spellings(long: &str) -> Vec<&'static str> {
    let same = |flag: &&Flag| match flag.meaning {
        Ours(ours) | Converted(ours, _) => ours == long,
        _ => false,
    };
    let own = format!("--{long}");
    flags().filter(same).flat_map(|flag| flag.names).copied().filter(|name| **name != own).collect()
}

/// The other spellings of an argument, except its short flag.
pub fn spellings_of(arg: &Arg) -> Vec<&'static str> {
    // Flags of llama.cpp without a value are not spellings, even if they have the same name.
    let long = arg.get_long().filter(|_| arg.get_action().takes_values());
    let letter = arg.get_short().map(|letter| format!("-{letter}"));
    let names = long.map(spellings).unwrap_or_default();
    names.into_iter().filter(|name| letter.as_deref() != Some(*name)).collect()
}

impl Flag {
    /// The equivalent flag of mullama, without dashes.
    pub fn target(&self) -> Option<&'static str> {
        match self.meaning {
            Ours(ours)
            | Fixed(ours, _)
            | Converted(ours, _)
            | Rewritten(ours, _)
            | Several(ours, _)
            | Read(ours)
            | Half(ours, _)
            | Entries(ours, _) => Some(ours),
            Model(_) | File | Already(_) | Unused(_) | Refused(_) | Server | Tool => None,
        }
    }
}

/// The text of a file, without a trailing newline.
pub fn text_of(path: &Path) -> Result<String, String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
    let bytes =
        read_file(&folders::expand_home(path), MAX_FILE_SIZE).map_err(|error| failed(&error))?;
    let text = String::from_utf8(bytes).map_err(|_| failed(&"it is not text in UTF-8"))?;
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

fn is_negative(value: &str) -> bool {
    value.trim().parse::<f64>().is_ok_and(|number| number < 0.0)
}

/// A number. Negative values mean no limit, or a random seed.
fn or_none(value: &str) -> Option<String> {
    (!is_negative(value)).then(|| value.to_owned())
}

/// A number. Zero and negative values mean the default.
fn or_default(value: &str) -> Option<String> {
    (!is_negative(value) && value.trim() != "0").then(|| value.to_owned())
}

/// A temperature. Negative values mean greedy sampling.
#[allow(clippy::unnecessary_wraps, reason = "the type that the table has")]
fn at_least_0(value: &str) -> Option<String> {
    Some(if is_negative(value) { "0".to_owned() } else { value.to_owned() })
}

fn is_on(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "" | "on" | "1" | "true" | "enabled" | "enable" | "yes" => Some(true),
        "off" | "0" | "false" | "disabled" | "disable" | "no" => Some(false),
        _ => None,
    }
}

#[allow(clippy::unnecessary_wraps, reason = "the type that the table has")]
fn switch_or_auto(value: &str) -> Option<String> {
    let word = match is_on(value) {
        Some(true) => "on",
        Some(false) => "off",
        None => value,
    };
    Some(word.to_owned())
}

/// Samplers with semicolons between them, some of which have other names.
#[allow(clippy::unnecessary_wraps, reason = "the type that the table has")]
fn samplers(value: &str) -> Option<String> {
    let name = |name: &str| match name.trim().replace('-', "_").as_str() {
        "typ_p" | "typical" => "typical_p".to_owned(),
        "temp" => "temperature".to_owned(),
        other => other.to_owned(),
    };
    Some(value.split([';', ',']).map(name).collect::<Vec<_>>().join(","))
}

/// A probability; negative ones turn it off.
#[allow(clippy::unnecessary_wraps, reason = "the type that the table has")]
fn adaptive(value: &str) -> Option<String> {
    Some(if is_negative(value) { "-1".to_owned() } else { value.to_owned() })
}

/// On or off; `auto` is the default.
fn switch(value: &str) -> Option<String> {
    match is_on(value) {
        Some(on) => Some(on.to_string()),
        None => (!value.eq_ignore_ascii_case("auto")).then(|| value.to_owned()),
    }
}

/// The mode `graph` of `ik_llama.cpp` corresponds to the engine's `tensor`: all GPUs compute each layer together.
#[allow(clippy::unnecessary_wraps, reason = "the type that the table has")]
fn split_mode(value: &str) -> Option<String> {
    let mode = value.to_ascii_lowercase();
    Some(if matches!(mode.as_str(), "graph" | "attn") { "tensor".to_owned() } else { mode })
}

/// Proportions, which `/` may separate.
#[allow(clippy::unnecessary_wraps, reason = "the type that the table has")]
fn shares(value: &str) -> Option<String> {
    Some(value.replace('/', ","))
}

/// How files are read. `auto` is the default.
fn load_mode(value: &str) -> Result<Pairs, String> {
    Ok(match value {
        "auto" => &[],
        "none" | "dio" => &[("use-mmap", "false")],
        "mmap" => &[("use-mmap", "true")],
        "mlock" => &[("use-mmap", "false"), ("use-mlock", "true")],
        "mmap+mlock" => &[("use-mmap", "true"), ("use-mlock", "true")],
        _ => {
            return Err(format!(
                "`{value}` is not one of auto, none, mmap, mlock, mmap+mlock, dio"
            ));
        }
    })
}

/// Parses `FILE:SCALE`.
fn scaled(value: &str) -> Result<String, String> {
    let (file, scale) =
        value.rsplit_once([':', ' ']).ok_or_else(|| format!("`{value}` is not FILE:SCALE"))?;
    Ok(format!("{file}={scale}"))
}

fn inverse(value: &str) -> Result<String, String> {
    let factor: f32 = value.parse().map_err(|_| format!("`{value}` is not a number"))?;
    Ok((1.0 / factor).to_string())
}

/// Parses `15043+1`, `15043-inf`, or a JSON object.
fn bias(value: &str) -> Result<Map<String, Value>, String> {
    if let Ok(Value::Object(entries)) = serde_json::from_str(value) {
        return Ok(entries);
    }
    let problem = || format!("`{value}` is not TOKEN+BIAS, TOKEN-BIAS or JSON");
    let at = value.find(['+', '-']).ok_or_else(problem)?;
    let (token, bias) = value.split_at(at);
    let bias: f64 = bias.parse().map_err(|_| problem())?;
    let bias = if bias == f64::NEG_INFINITY { Value::Bool(false) } else { Value::from(bias) };
    Ok(Map::from_iter([(token.trim().to_owned(), bias)]))
}

/// Parses `KEY=TYPE:VALUE,...`.
fn overrides(value: &str) -> Result<Map<String, Value>, String> {
    let entry = |entry: &str| {
        let problem =
            || format!("`{entry}` is not KEY=TYPE:VALUE, with a type of int, float, bool or str");
        let (key, value) = entry.split_once('=').ok_or_else(problem)?;
        let (ty, value) = value.split_once(':').ok_or_else(problem)?;
        let value = match ty {
            "int" => value.parse::<i64>().ok().map(Value::from),
            "float" => value.parse::<f64>().ok().map(Value::from),
            "bool" => value.parse::<bool>().ok().map(Value::from),
            "str" => Some(Value::from(value)),
            _ => None,
        };
        Ok((key.to_owned(), value.ok_or_else(problem)?))
    };
    value.split(',').map(entry).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::Command;

    use super::*;

    /// Flags with the same name but another meaning in mullama.
    const OURS_ALONE: [&str; 10] = [
        "-h",
        "--help",
        "--version",
        "-v",
        "--verbose",
        "--tools",
        "--timeout",
        "--parse-special",
        "--no-parse-special",
        "--format",
    ];

    #[test]
    fn a_name_stands_for_one_flag() {
        let mut known = BTreeSet::new();
        for name in flags().flat_map(|flag| flag.names) {
            assert!(known.insert(name), "{name} is there twice");
            assert!(name.starts_with('-') && !name.contains([' ', '_', '=']), "{name}");
        }
    }

    /// Checks the flags in the source code of the engine that is used.
    #[test]
    fn every_flag_of_the_engine_is_here() {
        let output = Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--format-version=1",
                "--offline",
                "--filter-platform=x86_64-unknown-linux-gnu",
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let engine = packages.iter().find(|package| package["name"] == "llama-cpp-sys-2").unwrap();
        let manifest = Path::new(engine["manifest_path"].as_str().unwrap());
        let source = manifest.with_file_name("llama.cpp/common/arg.cpp");
        let source = std::fs::read_to_string(source).unwrap();
        let mut seen = 0;
        for declared in source.split("add_opt(common_arg(").skip(1) {
            // The names are first: `{"-t", "--threads"}`; negated names have their own braces.
            let head = declared.split(['(', '[']).next().unwrap_or_default();
            for name in head.split('"').filter(|part| part.starts_with('-') && !part.contains(' '))
            {
                if OURS_ALONE.contains(&name) {
                    continue;
                }
                seen += 1;
                assert!(find(name).is_some(), "{name} is not in the table");
            }
        }
        assert!(seen > 350, "{seen}");
    }

    #[test]
    fn what_is_ours_is_a_flag_of_the_command() {
        let command = crate::arguments::command();
        let run = command.find_subcommand("run").unwrap();
        for flag in flags() {
            if let Some(ours) = flag.target() {
                let is_there = run.get_arguments().any(|arg| arg.get_long() == Some(ours));
                assert!(is_there, "{:?} is --{ours}", flag.names);
            }
        }
    }

    #[test]
    fn values_are_those_of_ours() {
        let converted = |name: &str, value: &str| match find(name).unwrap().meaning {
            Converted(_, convert) => Ok(convert(value)),
            Rewritten(_, convert) => convert(value).map(Some),
            _ => panic!("{name}"),
        };
        for (name, value, ours) in [
            ("-fa", "", "on"),
            ("-fa", "0", "off"),
            ("-fa", "auto", "auto"),
            ("-sm", "graph", "tensor"),
            ("-sm", "ROW", "row"),
            ("-ts", "3/1", "3,1"),
            ("--lora-scaled", "a.gguf:0.5", "a.gguf=0.5"),
            ("--rope-scale", "4", "0.25"),
            ("-rea", "off", "false"),
            ("-t", "8", "8"),
            ("--temp", "-1", "0"),
        ] {
            assert_eq!(converted(name, value).unwrap().as_deref(), Some(ours), "{name} {value}");
        }
        for (name, value) in
            [("-n", "-1"), ("-n", "-2"), ("-s", "-1"), ("-t", "0"), ("-rea", "auto")]
        {
            assert_eq!(converted(name, value), Ok(None), "{name} {value}");
        }
        assert_eq!(load_mode("mmap+mlock").unwrap(), [("use-mmap", "true"), ("use-mlock", "true")]);
        assert!(load_mode("auto").unwrap().is_empty() && load_mode("x").is_err());
        for (name, value) in [("--rope-scale", "x"), ("--lora-scaled", "x")] {
            assert!(converted(name, value).is_err(), "{name} {value}");
        }
        assert_eq!(Value::from(bias("5-inf").unwrap()), serde_json::json!({"5": false}));
        assert_eq!(Value::from(bias("5+1.5").unwrap()), serde_json::json!({"5": 1.5}));
        assert_eq!(Value::from(bias("{\"5\": -1}").unwrap()), serde_json::json!({"5": -1}));
        assert_eq!(
            Value::from(overrides("a.b=int:3,c=bool:false,d=str:x,e=float:0.5").unwrap()),
            serde_json::json!({"a.b": 3, "c": false, "d": "x", "e": 0.5})
        );
        for wrong in ["a", "a=3", "a=int:x", "a=list:3"] {
            assert!(overrides(wrong).is_err(), "{wrong}");
        }
        assert!(bias("five").is_err());
    }
}
