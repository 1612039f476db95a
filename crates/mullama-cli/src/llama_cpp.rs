//! The flags of llama.cpp and `ik_llama.cpp`, and their equivalents in mullama. Parsing, help and a page of the
//! documentation are derived from this table.

use std::path::Path;

use clap::Arg;
use mullama_base::{folders, read_file_or_pipe};
use serde_json::{Map, Value};

/// Maximum size in bytes of a file that a flag reads.
const MAX_FILE_SIZE: u64 = 16 << 20;

/// A flag of llama.cpp or `ik_llama.cpp`.
pub struct Flag {
    /// The spellings of the flag.
    pub names: &'static [&'static str],
    /// The value after the flag.
    pub takes: FlagValue,
    /// The equivalent in mullama.
    pub meaning: FlagMapping,
}

/// The kind of value after a flag.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FlagValue {
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
pub enum FlagMapping {
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

use FlagMapping::{
    Already, Converted, Entries, File, Fixed, Half, Model, Ours, Read, Refused, Rewritten, Server,
    Several, Tool, Unused,
};

/// The message for a flag of the server.
pub const SERVER: &str = "it configures a server, and mullama has none yet; use `mullama run`, or the library in your own program";
/// The message for a flag of another program.
pub const TOOL: &str = "it belongs to a program of llama.cpp that mullama has no counterpart of";

const fn flag(names: &'static [&'static str], takes: FlagValue, meaning: FlagMapping) -> Flag {
    Flag { names, takes, meaning }
}

/// A flag with a value.
const fn flag_with_value(names: &'static [&'static str], meaning: FlagMapping) -> Flag {
    flag(names, FlagValue::Value, meaning)
}

/// A flag without a value.
const fn flag_without_value(names: &'static [&'static str], meaning: FlagMapping) -> Flag {
    flag(names, FlagValue::Nothing, meaning)
}

/// A flag with an optional switch word.
const fn flag_with_switch(names: &'static [&'static str], meaning: FlagMapping) -> Flag {
    flag(names, FlagValue::Word(SWITCH_WORDS), meaning)
}

/// The switch words.
const SWITCH_WORDS: &[&str] = &[
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
    flag_with_value(&["-m", "--model"], Model("")),
    flag_with_value(&["-hf", "-hfr", "--hf-repo"], Model("hf.co/")),
    flag_with_value(&["-hff", "--hf-file"], File),
    flag_with_value(&["-mu", "--model-url"], Model("")),
    flag_with_value(
        &["-hft", "--hf-token"],
        Refused("set HF_TOKEN in the environment; other users can read command lines"),
    ),
    flag_with_value(
        &["-dr", "--docker-repo"],
        Refused("use a name of Ollama's registry or hf.co/USER/REPO"),
    ),
    flag_without_value(&["--offline"], Fixed("no-pull", "")),
    flag_with_value(&["--lora"], Ours("lora")),
    flag_with_value(&["--lora-scaled"], Rewritten("lora", parse_scaled)),
    flag_without_value(&["--lora-init-without-apply"], Server),
    flag_with_value(&["--control-vector"], Refused("control vectors are not supported")),
    flag(
        &["--control-vector-scaled"],
        FlagValue::Value,
        Refused("control vectors are not supported"),
    ),
    flag(
        &["--control-vector-layer-range"],
        FlagValue::Two,
        Refused("control vectors are not supported"),
    ),
    flag_with_value(&["-okv", "--override-kv"], Entries("metadata-overrides", overrides)),
    flag_without_value(
        &["--check-tensors", "-vq", "--validate-quants"],
        Fixed("check-tensors", "true"),
    ),
];

const PROMPT: &[Flag] = &[
    flag_with_value(&["-p", "--prompt"], Ours("prompt")),
    flag_with_value(&["-f", "--file", "--in-file"], Ours("prompt-file")),
    flag_with_value(&["-bf", "--binary-file"], Refused("a prompt is text; use -f FILE")),
    flag_without_value(
        &["-e", "--escape"],
        Already("escape sequences in -p and -f are always processed"),
    ),
    flag_without_value(&["--no-escape"], Ours("no-escape")),
    flag_with_value(&["-sys", "--system-prompt"], Ours("system")),
    flag_with_value(&["-sysf", "-spf", "--system-prompt-file"], Read("system")),
    flag_with_value(&["--prompt-cache"], Ours("prompt-cache")),
    flag_without_value(&["--prompt-cache-ro"], Ours("prompt-cache-ro")),
    flag_without_value(
        &["--prompt-cache-all"],
        Already("the answer is always saved with the prompt"),
    ),
    flag_without_value(
        &["-cnv", "--conversation", "-i", "--interactive", "-if", "--interactive-first"],
        Unused("a conversation starts if there is no prompt"),
    ),
    flag_without_value(&["-no-cnv", "--no-conversation"], Fixed("raw", "")),
    flag_without_value(
        &["-st", "--single-turn"],
        Already("a prompt gets one answer, and the command ends"),
    ),
    flag_without_value(
        &["-mli", "--multiline-input"],
        Unused("\"\"\" starts and ends a text of several lines"),
    ),
    flag_with_value(&["-r", "--reverse-prompt"], Ours("stop")),
    flag_without_value(
        &["--in-prefix-bos"],
        Refused("messages are formatted by the chat template; use --chat-template"),
    ),
    flag_with_value(
        &["--in-prefix", "--in-suffix"],
        Refused("messages are formatted by the chat template; use --chat-template"),
    ),
    flag_without_value(
        &["--infill", "--spm-infill"],
        Refused("use --infill-suffix TEXT; the prompt is the text before it"),
    ),
    flag_with_value(
        &["--keep"],
        Unused("of a prompt, a control token at the start stays with --overflow shift"),
    ),
    flag_with_switch(
        &["--context-shift"],
        Refused("use --overflow truncate for conversations, --overflow shift with --raw"),
    ),
    flag_without_value(&["--no-context-shift"], Already("--overflow is error by default")),
];

const PLACEMENT: &[Flag] = &[
    flag_with_value(&["-ngl", "--gpu-layers", "--n-gpu-layers"], Ours("n-gpu-layers")),
    flag_with_value(&["-sm", "--split-mode"], Converted("split-mode", split_mode)),
    flag_with_value(&["-ts", "--tensor-split"], Converted("tensor-split", parse_shares)),
    flag_with_value(&["-mg", "--main-gpu"], Ours("main-gpu")),
    flag_with_value(&["--max-gpu"], Ours("max-gpu")),
    flag_with_value(&["-dev", "--device"], Ours("device")),
    flag_with_value(&["--rpc"], Ours("rpc")),
    flag_with_value(&["-ot", "--override-tensor"], Ours("override-tensor")),
    flag_without_value(&["-cmoe", "--cpu-moe"], Ours("cpu-moe")),
    flag_with_value(&["-ncmoe", "--n-cpu-moe"], Ours("n-cpu-moe")),
    flag_with_value(
        &["-ncffn", "--n-cpu-ffn"],
        Refused("use -ot 'blk\\.(0|1|2)\\.ffn_.*=CPU' with the numbers of the layers"),
    ),
    flag_without_value(&["--mmap"], Fixed("use-mmap", "true")),
    flag_without_value(&["--no-mmap"], Fixed("use-mmap", "false")),
    flag_without_value(&["--mlock"], Fixed("use-mlock", "true")),
    flag_with_value(&["-lm", "--load-mode"], Several("use-mmap", load_mode)),
    flag_without_value(
        &["-dio", "--direct-io"],
        Unused("direct I/O is not supported; files are mapped or read"),
    ),
    flag_without_value(
        &["-ndio", "--no-direct-io"],
        Already("direct I/O is not supported; files are mapped or read"),
    ),
    flag_with_value(&["-lzm", "--lazy-mode"], Unused("mapped weights are loaded on first use")),
    flag_with_switch(
        &["-fit", "--fit"],
        Unused("options that you leave out are fitted, options that you set are not changed"),
    ),
    flag_with_value(
        &["-fitt", "--fit-target", "--fit-margin", "-gfm", "--gpu-fit-margin"],
        Unused("the environment variable MULLAMA_GPU_MEMORY limits the memory of each GPU"),
    ),
    flag_with_value(
        &["-fitc", "--fit-ctx"],
        Unused("a context that you leave out is reduced only if necessary; -c sets it"),
    ),
    flag_with_switch(&["-fitp", "--fit-print"], Refused("use `mullama plan`")),
    flag_without_value(&["--dry-run"], Refused("use `mullama plan`")),
    flag_without_value(&["--list-devices"], Refused("use `mullama devices`")),
    flag_with_value(&["--numa"], Unused(AFFINITY)),
    flag_without_value(&["--op-offload"], Already("long prompts are always computed on the GPU")),
    flag_without_value(
        &["--no-op-offload"],
        Unused("set GGML_OP_OFFLOAD_MIN_BATCH to a large number in the environment"),
    ),
    flag_without_value(&["--no-host"], Unused("the engine chooses its buffer types")),
    flag_without_value(
        &["--repack"],
        Already("weights are always repacked for the CPU if that is faster"),
    ),
    flag_without_value(&["-nr", "--no-repack"], Fixed("cpu-kernels", "engine")),
    flag_without_value(
        &["-rtr", "--run-time-repack"],
        Already("weights are always repacked for the CPU if that is faster"),
    ),
    flag_with_value(
        &["-cuda", "--cuda-params"],
        Rewritten("cuda", |text| Ok(text.replace("offload-batch-size", "offload-min-batch"))),
    ),
    flag_with_value(
        &["-grt", "--graph-reduce-type"],
        Unused("GPUs exchange results as bf16; --cuda allreduce-type=f32 changes that"),
    ),
    flag_with_value(&["-gap", "--graph-attn-precision"], Unused(EXCHANGE)),
    flag_without_value(
        &["-smf16", "--split-mode-f16", "-smf32", "--split-mode-f32"],
        Unused(EXCHANGE),
    ),
    flag_without_value(
        &["-smgs", "--split-mode-graph-scheduling", "-sas", "--scheduler-async"],
        Unused("the engine schedules GPU work by itself"),
    ),
    flag_with_value(
        &["-op", "--offload-policy"],
        Unused("the engine decides itself which operations are offloaded"),
    ),
    flag_without_value(
        &["-no-ooae", "--no-offload-only-active-experts", "-ooae", "--offload-only-active-experts"],
        Unused("the engine decides itself which operations are offloaded"),
    ),
    flag_with_value(
        &["-wgt", "--worst-graph-tokens"],
        Unused("compute buffers are sized for a full batch; -ub reduces them"),
    ),
    flag_without_value(
        &["-thp", "--transparent-huge-pages"],
        Unused("huge pages are left to the operating system"),
    ),
    flag_without_value(
        &["--defer-experts", "--prefetch-experts"],
        Unused("mapped weights are loaded on first use"),
    ),
    flag_with_value(
        &["--prefetch-experts-threads"],
        Unused("mapped weights are loaded on first use"),
    ),
    flag_without_value(
        &["-mqkv", "--merge-qkv", "-muge", "--merge-up-gate-experts"],
        Unused("tensors are used as stored in the file"),
    ),
    flag_with_value(
        &["-mea", "--max-extra-alloc"],
        Unused("compute buffers are sized for a full batch; -ub reduces them"),
    ),
];

const CONTEXT: &[Flag] = &[
    flag_with_value(&["-c", "--ctx-size", "--context-size"], Ours("context-size")),
    flag_with_value(&["-b", "--batch-size"], Ours("batch-size")),
    flag_with_value(&["-ub", "--ubatch-size"], Ours("ubatch-size")),
    flag_with_value(&["-t", "--threads", "--n-threads"], Converted("n-threads", parse_or_default)),
    flag_with_value(
        &["-tb", "--threads-batch", "--n-threads-batch"],
        Converted("n-threads-batch", parse_or_default),
    ),
    flag_with_value(&["-np", "--parallel", "--n-parallel"], Converted("n-parallel", parse_limit)),
    flag_with_value(&["-ctk", "--cache-type-k"], Half("kv-cache-type", 0)),
    flag_with_value(&["-ctv", "--cache-type-v"], Half("kv-cache-type", 1)),
    flag(
        &["-fa", "--flash-attn", "--flash-attention"],
        FlagValue::Word(SWITCH_WORDS),
        Converted("flash-attention", switch_or_auto),
    ),
    flag_without_value(&["-no-fa", "--no-flash-attn"], Fixed("flash-attention", "off")),
    flag_without_value(&["-kvo", "--kv-offload"], Fixed("offload-kqv", "true")),
    flag_without_value(&["-nkvo", "--no-kv-offload"], Fixed("offload-kqv", "false")),
    flag_without_value(&["--swa-full"], Ours("swa-full")),
    flag_without_value(
        &["--swa-compress"],
        Already("sliding-window layers only have cells for their window by default"),
    ),
    flag_with_value(&["-cram", "--cache-ram"], Converted("cache-ram", mebibytes)),
    flag_with_value(
        &["-cms", "--checkpoint-min-step", "-ctx-ckpt-i", "--ctx-checkpoints-interval"],
        Converted("checkpoint-every", parse_limit),
    ),
    flag_with_value(
        &["-ctxcp", "--ctx-checkpoints", "--swa-checkpoints", "-ctx-ckpt"],
        Unused("--cache-ram limits the memory of checkpoints"),
    ),
    flag_with_value(
        &[
            "-ctx-ckpt-t",
            "--ctx-checkpoints-tolerance",
            "-ctx-ckpt-e",
            "--ctx-checkpoints-eviction",
        ],
        Unused("use --checkpoint-every and --cache-ram"),
    ),
    flag_with_value(
        &["-crs", "--cache-ram-similarity", "-cram-n-min", "--cache-ram-n-min"],
        Unused("cached prefixes are always found by their tokens"),
    ),
    flag_without_value(
        &["-kvu", "--kv-unified"],
        Already("all requests always share one KV cache"),
    ),
    flag_without_value(
        &["-no-kvu", "--no-kv-unified"],
        Unused("all requests always share one KV cache"),
    ),
    flag_with_value(&["--kv-unified-per-slot"], Unused("all requests always share one KV cache")),
    flag_without_value(&["-cb", "--cont-batching"], Already("continuous batching is always on")),
    flag_without_value(
        &["-nocb", "--no-cont-batching"],
        Unused("continuous batching is always on"),
    ),
    flag_without_value(
        &["--cache-prompt", "--cache-idle-slots"],
        Already("common prefixes are computed once"),
    ),
    flag_without_value(&["--no-cache-prompt", "--no-cache-idle-slots"], Fixed("prefix-cache", "0")),
    flag_with_value(
        &["--cache-reuse"],
        Unused("common prefixes are reused; later parts are recomputed"),
    ),
    flag_with_value(&["-dt", "--defrag-thold"], Unused("the KV cache is never fragmented")),
    flag_without_value(&["--warmup"], Fixed("warmup", "true")),
    flag_without_value(&["--no-warmup"], Fixed("warmup", "false")),
    flag_with_value(&["--rope-freq-base"], Ours("rope-freq-base")),
    flag_with_value(&["--rope-freq-scale"], Ours("rope-freq-scale")),
    flag_with_value(&["--rope-scale"], Rewritten("rope-freq-scale", parse_inverse)),
    flag_with_value(
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
    flag_with_value(
        &["-gan", "--grp-attn-n", "-gaw", "--grp-attn-w"],
        Refused("self-extend is not supported; use a model with a longer training context"),
    ),
    flag_with_value(
        &["-C", "--cpu-mask", "-Cr", "--cpu-range", "--cpu-strict", "--prio", "--poll"],
        Unused(AFFINITY),
    ),
    flag_with_value(
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
    flag_with_value(
        &["-amb", "--attention-max-batch"],
        Unused("-ub limits the size of the attention buffers"),
    ),
    flag_with_value(&["-mla", "--mla-use"], Unused("MLA is used if the model has it")),
    flag_without_value(
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
    flag_without_value(
        &["-ger", "--grouped-expert-routing"],
        Unused("routing follows the model's architecture"),
    ),
    flag_without_value(&["-gr", "--graph-reuse"], Already("graphs are always reused")),
    flag_without_value(&["-no-gr", "--no-graph-reuse"], Unused("graphs are always reused")),
    flag_without_value(&["-rcache", "--rope-cache"], Unused(FUSED)),
    flag_with_value(
        &["-ser", "--smart-expert-reduction"],
        Refused(
            "use --metadata-overrides '{\"ARCHITECTURE.expert_used_count\": 4}' to use fewer experts",
        ),
    ),
    flag_without_value(
        &["-khad", "--k-cache-hadamard", "-vhad", "--v-cache-hadamard"],
        Unused(HADAMARD),
    ),
    flag_with_value(&["-ictk", "--indexer-cache-type-k"], Unused("use -ctk for all keys")),
    flag_with_value(
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
    flag_without_value(
        &["-dsa", "--dsa", "-fidx", "--fused-indexer-topk"],
        Unused("attention follows the model's architecture"),
    ),
    flag_with_value(&["-dsatk", "--dsa-top-k"], Refused("use --metadata-overrides")),
    flag_without_value(
        &["-dkvc", "--dump-kv-cache"],
        Refused("use `stats()` in Python, Node.js or Rust"),
    ),
];

const SAMPLING: &[Flag] = &[
    flag_with_value(
        &["-n", "--predict", "--n-predict", "--max-tokens"],
        Converted("max-tokens", parse_limit),
    ),
    flag_with_value(&["-s", "--seed"], Converted("seed", parse_limit)),
    flag_with_value(&["--temp", "--temperature"], Converted("temperature", at_least_0)),
    flag_with_value(&["--top-k"], Ours("top-k")),
    flag_with_value(&["--top-p"], Ours("top-p")),
    flag_with_value(&["--min-p"], Ours("min-p")),
    flag_with_value(&["--top-nsigma", "--top-n-sigma"], Ours("top-n-sigma")),
    flag_with_value(&["--typical", "--typical-p"], Ours("typical-p")),
    flag_with_value(&["--xtc-probability"], Ours("xtc-probability")),
    flag_with_value(&["--xtc-threshold"], Ours("xtc-threshold")),
    flag_with_value(&["--repeat-last-n"], Ours("repeat-last-n")),
    flag_with_value(&["--repeat-penalty"], Ours("repeat-penalty")),
    flag_with_value(&["--presence-penalty"], Ours("presence-penalty")),
    flag_with_value(&["--frequency-penalty"], Ours("frequency-penalty")),
    flag_with_value(&["--dry-multiplier"], Ours("dry-multiplier")),
    flag_with_value(&["--dry-base"], Ours("dry-base")),
    flag_with_value(&["--dry-allowed-length"], Ours("dry-allowed-length")),
    flag_with_value(&["--dry-penalty-last-n"], Ours("dry-penalty-last-n")),
    flag_with_value(&["--dry-sequence-breaker"], Ours("dry-sequence-breakers")),
    flag_with_value(&["--dynatemp-range"], Ours("dynatemp-range")),
    flag_with_value(&["--dynatemp-exp"], Ours("dynatemp-exponent")),
    flag_with_value(&["--mirostat"], Ours("mirostat")),
    flag_with_value(&["--mirostat-lr"], Ours("mirostat-eta")),
    flag_with_value(&["--mirostat-ent"], Ours("mirostat-tau")),
    flag_with_value(&["-l", "--logit-bias"], Entries("logit-bias", bias)),
    flag_without_value(&["--ignore-eos"], Ours("ignore-eos")),
    flag_with_value(&["--grammar"], Ours("grammar")),
    flag_with_value(&["--grammar-file"], Read("grammar")),
    flag_with_value(&["-j", "--json-schema"], Ours("json-schema")),
    flag_with_value(&["-jf", "--json-schema-file"], Ours("format")),
    flag_with_value(&["--samplers"], Converted("samplers", samplers)),
    flag_with_value(
        &["--sampler-seq", "--sampling-seq"],
        Refused("name the samplers: --samplers top_k,temperature"),
    ),
    flag_with_value(&["--adaptive-target"], Converted("adaptive-p", adaptive)),
    flag_with_value(&["--adaptive-decay"], Ours("adaptive-p-decay")),
    flag_with_value(&["--adaptive-updt-w-cur"], Refused("the engine has no such setting")),
    flag_with_value(&["--tfs"], Refused("llama.cpp has removed tail-free sampling; use --min-p")),
    flag_without_value(&["--penalize-nl"], Refused("use --logit-bias for single tokens")),
    flag_without_value(&["-bs", "--backend-sampling"], Unused("sampling runs on the CPU")),
    flag_with_value(
        &["--cfg-negative-prompt", "--cfg-negative-prompt-file", "--cfg-scale"],
        Refused("classifier-free guidance is not supported"),
    ),
    flag_with_value(
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
    flag_without_value(&["--jinja", "--peg"], Already("chat templates are always Jinja")),
    flag_without_value(&["--no-jinja"], Unused("chat templates are always Jinja")),
    flag_with_value(&["--chat-template"], Ours("chat-template")),
    flag_with_value(&["--chat-template-file"], Read("chat-template")),
    flag_with_value(&["--chat-template-kwargs"], Ours("template-kwargs")),
    flag(&["-rea", "--reasoning"], FlagValue::Word(SWITCH_WORDS), Converted("reasoning", switch)),
    flag_with_value(&["--reasoning-budget"], Converted("reasoning-budget", parse_limit)),
    flag_with_value(
        &["--reasoning-format", "--reasoning-tokens"],
        Unused("reasoning is always separated from the answer"),
    ),
    flag_with_value(
        &["--reasoning-effort"],
        Refused("use --template-kwargs '{\"reasoning_effort\": \"high\"}'"),
    ),
    flag_with_value(
        &["--reasoning-budget-message"],
        Refused("reasoning always ends with the tag of the model's template"),
    ),
    flag_without_value(
        &["--reasoning-preserve", "--no-reasoning-preserve"],
        Unused("the chat template decides whether earlier reasoning is included"),
    ),
    flag_without_value(&["--skip-chat-parsing"], Fixed("raw", "")),
    flag_without_value(
        &["--no-skip-chat-parsing", "--prefill-assistant"],
        Already("answers are always parsed, and continue the assistant's last message"),
    ),
    flag_without_value(
        &["--no-prefill-assistant"],
        Unused("answers always continue the assistant's last message"),
    ),
    flag_without_value(&["-ptcall"], Fixed("parallel-tool-calls", "true")),
    flag_without_value(&["-sp", "--special"], Unused("special tokens are never part of the text")),
];

const OUTPUT: &[Flag] = &[
    flag_without_value(&["--perf", "--show-timings"], Fixed("verbose", "")),
    flag_without_value(
        &["--no-perf", "--no-show-timings"],
        Already("times are only printed with -v"),
    ),
    flag_without_value(
        &["--display-prompt", "--verbose-prompt"],
        Unused("the prompt is never printed"),
    ),
    flag_without_value(&["--no-display-prompt"], Already("the prompt is never printed")),
    flag_with_switch(&["-co", "--color"], Unused("answers are never coloured")),
    flag_without_value(&["--simple-io"], Already("answers are always plain text")),
    flag_without_value(
        &["--log-disable"],
        Already("only warnings and errors are logged by default"),
    ),
    flag_without_value(
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
    flag_without_value(
        &["--log-prefix", "--no-log-prefix", "--log-timestamps", "--no-log-timestamps"],
        Unused(LOG),
    ),
    flag_with_switch(
        &["--log-colors"],
        Unused("set NO_COLOR in the environment to disable colours"),
    ),
    flag_with_value(
        &["--log-file", "-ld", "--logdir", "--log-prompts-dir", "--log-format"],
        Refused("the log is written to standard error; use 2> FILE"),
    ),
    flag_with_value(&["-lv", "--verbosity", "--log-verbosity"], Unused(LOG)),
    flag_without_value(&["--log-verbose"], Unused(LOG)),
    flag_with_value(&["-ptc", "--print-token-count"], Unused("-v prints the number of tokens")),
    flag_without_value(&["-cl", "--cache-list"], Refused("use `mullama list`")),
    flag_without_value(&["--completion-bash"], Refused("use `mullama completions bash`")),
    flag_without_value(&["--usage"], Refused("use `mullama help run`")),
];

const OTHER_MODELS: &[Flag] = &[
    flag_with_value(&["-md", "--model-draft", "--spec-draft-model"], Ours("draft-model")),
    flag_with_value(
        &["-hfd", "-hfrd", "--hf-repo-draft", "--spec-draft-hf"],
        Rewritten("draft-model", |repository| Ok(format!("hf.co/{repository}"))),
    ),
    flag_with_value(
        &["--draft", "--draft-n", "--draft-max", "--spec-draft-n-max"],
        Ours("draft-max"),
    ),
    flag_with_value(
        &["-ngld", "--gpu-layers-draft", "--n-gpu-layers-draft", "--spec-draft-ngl"],
        Ours("draft-gpu-layers"),
    ),
    flag_with_value(&["-devd", "--device-draft", "--spec-draft-device"], Ours("draft-device")),
    flag_with_value(
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
    flag_with_value(
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
    flag_with_value(
        &["-cd", "--ctx-size-draft"],
        Unused("the draft model has the context size of the model"),
    ),
    flag_with_value(
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
    flag_with_value(
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
    flag_without_value(
        &["-cmoed", "--cpu-moe-draft", "--spec-draft-cpu-moe"],
        Refused(DRAFT_TENSORS),
    ),
    flag_with_value(
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
    flag_without_value(
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
    flag_without_value(
        &["--spec-draft-backend-sampling", "--no-spec-draft-backend-sampling"],
        Unused("tokens are sampled by the processor"),
    ),
    flag_without_value(
        &["-no-mtp", "--no-multi-token-prediction"],
        Already("there is no multi-token prediction"),
    ),
    flag(&["--spec-replace"], FlagValue::Two, Refused(DRAFT)),
    flag_with_value(
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
    flag_with_value(
        &[
            "--spec-synth-len",
            "--spec-synth-rates",
            "--suffix-pattern-len",
            "--suffix-max-depth",
            "--suffix-corpus",
        ],
        Refused(DRAFT),
    ),
    flag_with_value(
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
    flag_with_value(&["--image"], Ours("image")),
    flag_with_value(&["-mm", "--mmproj"], Ours("mmproj")),
    flag_with_value(
        &["-mmu", "--mmproj-url"],
        Refused("download it, and give its file with --mmproj"),
    ),
    flag_with_value(&["--audio", "--video"], Refused(MEDIA)),
    flag_with_value(&["-mmdev", "--mmproj-device"], Unused("projectors compute on the processor")),
    flag_with_value(
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
    flag_without_value(&["--mmproj-auto"], Already("the projector next to the model is found")),
    flag_without_value(&["--mmproj-offload"], Unused("projectors compute on the processor")),
    flag_without_value(&["--no-mmproj", "--no-mmproj-auto"], Fixed("mmproj", "none")),
    flag_without_value(&["--no-mmproj-offload"], Already("projectors compute on the processor")),
    flag_without_value(
        &["--embedding", "--embeddings", "--rerank", "--reranking"],
        Refused("use `embed` or `rerank` in Python, Node.js or Rust"),
    ),
    flag_with_value(
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
    flag_with_value(
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
    flag_without_value(
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
    flag_with_value(
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
    flag_without_value(
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
    flag_without_value(
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

/// The text of a file, of a pipe, or of standard input (`-`), without a trailing newline.
pub fn text_of(path: &Path) -> Result<String, String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
    let bytes = read_file_or_pipe(&folders::expand_home(path), MAX_FILE_SIZE)
        .map_err(|error| failed(&error))?;
    let text = String::from_utf8(bytes).map_err(|_| failed(&"it is not text in UTF-8"))?;
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

fn is_negative(value: &str) -> bool {
    value.trim().parse::<f64>().is_ok_and(|number| number < 0.0)
}

/// A number. Negative values mean the default: no limit, a random seed, as many as usual.
fn parse_limit(value: &str) -> Option<String> {
    (!is_negative(value)).then(|| value.to_owned())
}

/// A number. Zero and negative values mean the default.
fn parse_or_default(value: &str) -> Option<String> {
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

/// Converts llama.cpp's list of samplers, separated by semicolons. Some of its names differ.
#[allow(clippy::unnecessary_wraps, reason = "the type that the table has")]
fn samplers(value: &str) -> Option<String> {
    let name = |name: &str| match name.trim().replace('-', "_").as_str() {
        "typ_p" | "typical" => "typical_p".to_owned(),
        "temp" => "temperature".to_owned(),
        other => other.to_owned(),
    };
    Some(value.split([';', ',']).map(name).collect::<Vec<_>>().join(","))
}

/// A number of MiB, of which -1 means no limit, or a size with its unit.
#[allow(clippy::unnecessary_wraps, reason = "the type that the table has")]
fn mebibytes(value: &str) -> Option<String> {
    let is_number = value.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
    Some(match value {
        _ if is_negative(value) => format!("{}TiB", 1_u64 << 20),
        _ if is_number => format!("{value}MiB"),
        _ => value.to_owned(),
    })
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
fn parse_shares(value: &str) -> Option<String> {
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
fn parse_scaled(value: &str) -> Result<String, String> {
    let (file, scale) =
        value.rsplit_once([':', ' ']).ok_or_else(|| format!("`{value}` is not FILE:SCALE"))?;
    Ok(format!("{file}={scale}"))
}

fn parse_inverse(value: &str) -> Result<String, String> {
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
    const OWN_FLAGS: [&str; 10] = [
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
    fn flag_names_are_unique() {
        let mut known = BTreeSet::new();
        for name in flags().flat_map(|flag| flag.names) {
            assert!(known.insert(name), "{name} is there twice");
            assert!(name.starts_with('-') && !name.contains([' ', '_', '=']), "{name}");
        }
    }

    /// Checks the flags in the source code of the engine that is used.
    #[test]
    fn all_llama_cpp_flags_are_known() {
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
                if OWN_FLAGS.contains(&name) {
                    continue;
                }
                seen += 1;
                assert!(find(name).is_some(), "{name} is not in the table");
            }
        }
        assert!(seen > 350, "{seen}");
    }

    #[test]
    fn translated_flags_exist_in_the_command() {
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
    fn llama_cpp_flag_values_are_converted() {
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
            ("-cram", "8192", "8192MiB"),
            ("-cram", "2GiB", "2GiB"),
            ("-cram", "-1", "1048576TiB"),
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
