//! Plans from the command line: for hardware that does not exist, and models that were not
//! downloaded.

mod home;

use std::path::{Path, PathBuf};
use std::process::Command;

use home::{Home, checked, large, shards};
use mullama_test_registry::{Fault, Registry};
use mullama_testkit::gguf::{File, Value};
use serde_json::Value as Json;

const SHAPE: &str = "architecture=llama,block_count=80,embedding_length=8192,\
    feed_forward_length=28672,attention.head_count=64,attention.head_count_kv=8,vocab_size=128256";

/// The exit code if nothing fits.
const DOES_NOT_FIT: i32 = 7;

struct World {
    home: Home,
    registry: Registry,
}

impl World {
    fn new() -> Self {
        Self { home: Home::new(), registry: Registry::start() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.mullama(&[&["plan"], arguments].concat());
        command
            .env("HF_ENDPOINT", self.registry.url())
            .env("MULLAMA_REGISTRY", self.registry.url());
        command
    }

    fn run(&self, code: i32, arguments: &[&str]) -> (String, String) {
        checked(&self.command(arguments).output().unwrap(), code)
    }

    /// A plan as JSON. The exit code depends on whether it fits.
    fn json(&self, arguments: &[&str]) -> Json {
        let output = self.command(&[arguments, &["--json"]].concat()).output().unwrap();
        let plan: Json = serde_json::from_slice(&output.stdout).unwrap();
        checked(&output, if plan["fits"] == false { DOES_NOT_FIT } else { 0 });
        plan
    }

    /// The error message of a command with this exit code.
    fn refusal(&self, code: i32, arguments: &[&str]) -> String {
        self.run(code, arguments).1
    }
}

#[test]
fn a_model_on_hugging_face_is_planned_by_its_header() {
    let world = World::new();
    let bytes = large();
    world.registry.add_repo("user/repo", &[("repo-Q4_K_M.gguf", bytes.clone())]);
    let arguments = ["hf.co/user/repo:Q4_K_M", "--device", "RTX 4090", "-c", "4096"];
    let plan = world.json(&arguments);
    assert_eq!((&plan["fits"], &plan["n_gpu_layers"]), (&true.into(), &25.into()));
    let sent = world.registry.sent("/resolve/");
    assert!(sent < bytes.len() as u64 / 4, "{sent} of {} bytes", bytes.len());
    // The header is cached.
    let (table, _) = world.run(0, &arguments);
    assert_eq!(world.registry.sent("/resolve/"), sent);
    assert!(table.contains("CUDA0") && table.contains("RTX 4090"), "{table}");

    // The plan from the header is the same as from the whole file.
    let path = world.home.path().join("whole.gguf");
    std::fs::write(&path, &bytes).unwrap();
    let whole = world.json(&[&[path.to_str().unwrap()], &arguments[1..]].concat());
    assert_eq!(whole["devices"], plan["devices"]);
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries
        .flat_map(
            |entry| {
                if entry.path().is_dir() { files(&entry.path()) } else { vec![entry.path()] }
            },
        )
        .collect()
}

#[test]
fn damaged_plan_caches_are_rebuilt() {
    let world = World::new();
    world.registry.add_repo("user/repo", &[("repo-Q4_K_M.gguf", large())]);
    let plans = || {
        [
            world.json(&["hf.co/user/repo", "--device", "24GiB"]),
            world.json(&["--shape", SHAPE, "--device", "24GiB"]),
        ]
    };
    let whole = plans();
    let cache = world.home.path().join("cache");
    let kept = files(&cache);
    for part in ["remote-headers", "headers", "placements"] {
        assert!(kept.iter().any(|path| path.to_str().unwrap().contains(part)), "{part}: {kept:?}");
    }
    for damage in ["", "GGUF", "[]", r#"{"1": []}"#] {
        for path in files(&cache) {
            std::fs::write(path, damage).unwrap();
        }
        let again = plans();
        for (before, after) in whole.iter().zip(&again) {
            assert_eq!(before["devices"], after["devices"], "{damage:?}");
        }
    }
    let same_again = |damage: &str| {
        for (before, after) in whole.iter().zip(&plans()) {
            assert_eq!(before["devices"], after["devices"], "{damage}");
        }
    };
    for path in files(&cache) {
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
    }
    same_again("folders in place of files");
    for part in ["remote-headers", "headers", "placements"] {
        let folder = cache.join("mullama").join(part);
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::write(&folder, "").unwrap();
    }
    same_again("files in place of folders");
}

#[test]
fn split_models_addresses_and_names_are_planned() {
    let world = World::new();
    let [first, second] = shards();
    let files =
        [("a-00001-of-00002.gguf", first.clone()), ("a-00002-of-00002.gguf", second.clone())];
    world.registry.add_repo("user/split", &files);
    for (name, bytes) in &files {
        world.registry.add_file(&format!("/files/{name}"), bytes.clone());
    }
    world.registry.add_model("library/large:latest", &[("model", large())]);
    let address = format!("{}/files/a-00001-of-00002.gguf", world.registry.url());
    let device = ["--device", "24GiB"];
    let of = |source: &str| world.json(&[&[source], &device[..]].concat())["devices"].clone();
    let whole = of("large");
    assert_eq!(of("hf.co/user/split"), whole);
    assert_eq!(of(&address), whole);
    assert!(world.registry.sent("/blobs/") < large().len() as u64 / 4);
}

#[test]
fn unavailable_or_invalid_remote_headers_are_errors() {
    let world = World::new();
    let bytes = large();
    world.registry.add_file("/m.gguf", bytes.clone());
    let address = format!("{}/m.gguf", world.registry.url());
    let refused = |code, fault: Option<Fault>| {
        if let Some(fault) = fault {
            world.registry.fault("/m.gguf", 100, fault);
        }
        let words = world.refusal(code, &[&address, "--device", "8GiB"]);
        world.registry.clear_faults();
        words
    };
    let no_parts = refused(11, Some(Fault::NoRanges));
    assert!(no_parts.contains("does not send ranges") && no_parts.contains("GB"), "{no_parts}");
    assert!(refused(4, Some(Fault::Corrupt)).contains("header"));
    // Smaller than the tensors listed in the header.
    let shorter = refused(4, Some(Fault::Shorter(bytes.len() as u64 / 2)));
    assert!(shorter.contains("incomplete"), "{shorter}");

    world.registry.add_file("/cut.gguf", bytes[..20_000].to_vec());
    let cut = world.refusal(4, &[&address.replace("m.gguf", "cut.gguf")]);
    assert!(cut.contains("ends too soon"), "{cut}");
    let mut absurd = bytes.clone();
    absurd[8..16].copy_from_slice(&(u64::MAX / 2).to_le_bytes());
    world.registry.add_file("/absurd.gguf", absurd);
    let absurd = world.refusal(4, &[&address.replace("m.gguf", "absurd.gguf")]);
    assert!(absurd.contains("more than"), "{absurd}");
    let mut foreign = File::decode(&bytes).unwrap();
    for (key, value) in &mut foreign.header.metadata {
        if key == "general.architecture" {
            *value = Value::string("abacus");
        }
    }
    world.registry.add_file("/foreign.gguf", foreign.encode());
    let foreign = world.refusal(4, &[&address.replace("m.gguf", "foreign.gguf")]);
    assert!(foreign.contains("abacus") && foreign.contains("update mullama"), "{foreign}");
    assert!(world.refusal(3, &["hf.co/user/nothing"]).contains("user/nothing"));
}

#[test]
fn projectors_adapters_and_drafts_that_cannot_be_loaded_are_refused() {
    let world = World::new();
    let at = |name: &str| world.home.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("text.gguf"), "not a model").unwrap();
    std::fs::create_dir(at("folder")).unwrap();
    let model = mullama_testkit::fixture("small");
    let model = model.to_str().unwrap();
    for option in ["--mmproj", "--lora", "--draft-model"] {
        let refused = |code, file: &str| world.refusal(code, &["demo", option, file]);
        assert!(refused(3, &at("missing.gguf")).contains("missing.gguf"), "{option}");
        assert!(refused(4, &at("text.gguf")).contains("text.gguf"), "{option}");
        assert!(refused(4, &at("folder")).contains("is a folder"), "{option}");
        if cfg!(unix) {
            assert!(refused(4, "/dev/zero").contains("is a pipe or a device"), "{option}");
        }
    }
    let projector = world.refusal(4, &["demo", "--mmproj", model]);
    assert!(projector.contains("not a projector"), "{projector}");
    let adapter = world.refusal(4, &["demo", "--lora", model]);
    assert!(adapter.contains("as an adapter"), "{adapter}");
    // An adapter is planned with the model.
    let base = File::decode(&std::fs::read(model).unwrap()).unwrap();
    std::fs::write(at("adapter.gguf"), mullama_testkit::adapter(&base, 1.0, 1).encode()).unwrap();
    assert_eq!(world.json(&[model, "--lora", &at("adapter.gguf")])["fits"], true);
}

#[test]
fn invalid_device_descriptions_are_rejected() {
    let world = World::new();
    let refused = |devices: &[&str]| {
        let flags: Vec<_> = devices.iter().flat_map(|device| ["--device", device]).collect();
        world.refusal(2, &[&["demo"], &flags[..]].concat())
    };
    assert!(refused(&["24"]).contains("24GiB"));
    assert!(refused(&["-8GiB"]).contains("-8GiB"));
    assert!(refused(&["RTX 4900"]).contains("did you mean RTX 4090"));
    assert!(refused(&["M4 Max"]).contains("M4 Max 36GB"));
    assert!(refused(&["24GiB, backend=abacus"]).contains("abacus"));
    assert!(refused(&["CPU", "24GiB"]).contains("CPU is a device of this machine"));
    assert!(world.refusal(2, &["demo", "--host-memory", "16"]).contains("16GiB"));
    assert!(world.refusal(2, &["demo", "--host-bandwidth", "fast"]).contains("90GB/s"));
    assert!(world.refusal(2, &["--shape", "architecture=llama"]).contains("block_count"));
    // A device too small for a layer gets none, and an explicit request reports what would fit.
    let small = world.json(&["--shape", SHAPE, "--device", "100MiB", "--host-memory", "64GiB"]);
    assert_eq!((&small["fits"], &small["n_gpu_layers"]), (&true.into(), &0.into()));
    let advice = small["advice"].to_string();
    assert!(
        advice.contains("CUDA0 is not used: 100.0 MiB are too little for a layer."),
        "{advice}"
    );
    let none = world.json(&["demo", "--device", "none"]);
    assert_eq!((&none["fits"], &none["devices"]), (&true.into(), &serde_json::json!([])));
    let two = world.json(&["demo", "--device", "24GiB", "--device", "16GiB"]);
    assert!(two["advice"].to_string().contains("CUDA1 is not used: the model fits without it."));
    assert!(world.refusal(2, &["demo", "-np", "0"]).contains("--n-parallel"));
    let asked = world.json(&["--shape", SHAPE, "--device", "100MiB", "-ngl", "10"]);
    assert_eq!(asked["fits"], false);
    let refusal = asked["refusal"].as_str().unwrap();
    assert!(refusal.starts_with("a model of the shape llama"), "{refusal}");
    assert!(refusal.contains("--n-gpu-layers=0 fits"), "{refusal}");
    let nearest = asked["alternatives"][0].clone();
    assert_eq!(nearest["change"], "n_gpu_layers auto");
}

/// The table, the message and the hint are of the same placement.
#[test]
fn a_refused_plan_agrees_with_its_message() {
    let world = World::new();
    let line = ["demo", "--device", "24GiB", "--host-memory", "20GiB", "-c", "100000000"];
    let plan = world.json(&line);
    let refusal = plan["refusal"].as_str().unwrap();
    let number = |name: &str| plan["host"][name].as_u64().unwrap();
    let needed = (number("kv") + number("compute")) as f64 / f64::from(1 << 30);
    let shown = format!("CPU needs {needed:.2} GiB and has 20.00 GiB free");
    assert!(refusal.contains(&shown), "{refusal} {shown}");
    assert_eq!(plan["n_gpu_layers"], 0);
    let most = plan["max_gpu_context_size"].as_u64().unwrap();
    assert!(refusal.contains(&format!("--context-size={most} fits")), "{refusal} {most}");
    assert!(plan["advice"].to_string().contains("CUDA0 is not used"), "{plan}");
    let (text, _) = world.run(DOES_NOT_FIT, &line);
    assert!(!text.contains("Predicted"), "{text}");
    let most = most.to_string();
    let fitting = [&line[..5], &["-c", &most]].concat();
    assert_eq!(world.json(&fitting)["fits"], true);
}

#[test]
fn reported_max_gpu_context_size_fits() {
    let world = World::new();
    let plan =
        |more: &[&str]| world.json(&[&["--shape", SHAPE, "--host-memory", "64GiB"], more].concat());
    let trained = format!("{SHAPE},context_length=131072,quantization=Q4_K_M");
    let long = |more: &[&str]| {
        world
            .json(&[&["--shape", &trained, "--device", "2x RTX 4090", "-ngl", "81"], more].concat())
    };
    let most = long(&[])["max_gpu_context_size"].as_u64().unwrap();
    assert!((4096..131_072).contains(&most), "{most}");
    let fits = |tokens: u64| long(&["-c", &tokens.to_string()])["fits"] == true;
    assert!(fits(most) && !fits(most * 2));
    let (table, _) = world.run(0, &["--shape", &trained, "--device", "2x RTX 4090"]);
    let line = format!("Largest context with all layers on GPUs: {most} tokens");
    assert!(table.contains(&line), "{table}");

    assert!(plan(&["--device", "24GiB"])["max_gpu_context_size"].is_null(), "it is too large");
}

#[test]
fn plans_compare_explain_sweep_and_plot() {
    let world = World::new();
    let machines = ["RTX 3090", "2x RTX 4060 Ti 16GB", "M4 Max 64GB", "RTX 3090 + RTX 3060 12GB"];
    let compare =
        [&["--shape", SHAPE, "--host-memory", "64GiB", "--compare"], &machines[..]].concat();
    let (table, _) = world.run(0, &compare);
    assert!(machines.iter().all(|machine| table.contains(machine)), "{table}");
    assert_eq!(table.lines().count(), 1 + machines.len());
    let plans = world.json(&compare);
    assert_eq!(plans["M4 Max 64GB"]["n_gpu_layers"], 81);

    let (explained, _) = world.run(0, &["--shape", SHAPE, "--device", "RTX 4090", "--explain"]);
    assert!(explained.contains("Layers 0 to") && explained.contains("on CUDA0: it is full"));

    let plot = world.home.path().join("plot.svg");
    let plot = plot.to_str().unwrap();
    let (rows, _) = world.run(0, &["demo", "--device", "1GiB", "--sweep", "layers", "--svg", plot]);
    assert_eq!(rows.lines().count(), 11);
    assert!(std::fs::read_to_string(plot).unwrap().contains("</svg>"));
    for what in ["context", "kv"] {
        assert!(world.run(0, &["demo", "--sweep", what]).0.lines().count() > 3);
    }
    let path = mullama_testkit::fixture("small");
    let quants = [path.to_str().unwrap(), "--device", "1GiB", "--sweep", "quant"];
    let (quants, _) = world.run(0, &quants);
    assert!(quants.contains("Q4_K_M") && quants.contains("IQ2_XXS"), "{quants}");
}

#[test]
fn plans_that_do_not_fit_have_their_own_exit_code_and_are_hidden() {
    let world = World::new();
    let shape = ["--shape", SHAPE, "--host-memory", "64GiB"];
    let plan = |code, more: &[&str]| world.run(code, &[&shape[..], more].concat());
    for form in [&["--summary"][..], &["--explain"], &[]] {
        let (out, _) = plan(DOES_NOT_FIT, &[&["--device", "8GiB", "-ngl", "-1"], form].concat());
        assert!(out.contains("Does not fit: "), "{out}");
    }
    // A comparison shows all named machines; it succeeds if one fits.
    let (rows, _) = plan(0, &["-ngl", "-1", "--compare", "8GiB", "400GiB"]);
    assert!(rows.contains("8GiB") && rows.lines().count() == 3, "{rows}");
    plan(DOES_NOT_FIT, &["-ngl", "-1", "--compare", "8GiB", "16GiB"]);
    // A sweep hides settings that do not fit.
    let sweep = ["--device", "16GiB", "--sweep", "layers"];
    let (rows, err) = plan(0, &sweep);
    assert!(!rows.lines().any(|row| row.contains("  no ")), "{rows}");
    assert!(err.contains("settings do not fit and are not listed; use --all"), "{err}");
    let (all, err) = plan(0, &[&sweep[..], &["--all"]].concat());
    assert!(all.lines().any(|row| row.contains("  no ")) && !err.contains("--all"), "{all}{err}");
    let unfit = ["--shape", SHAPE, "--host-memory", "1GiB", "--device", "8GiB", "-ngl", "81"];
    let (few, _) = world.run(DOES_NOT_FIT, &unfit);
    assert!(few.contains("not fit)"), "{few}");
    let (many, _) = world.run(DOES_NOT_FIT, &[&unfit[..], &["--all"]].concat());
    assert!(many.contains("does not fit: ") && !many.contains(" more do"), "{many}");
}

#[test]
fn excess_layer_counts_offload_what_fits() {
    let world = World::new();
    let plan = |layers: &str| {
        let line =
            ["--shape", SHAPE, "--host-memory", "400GiB", "--device", "24GiB", "-ngl", layers];
        let output = world.command(&[&line[..], &["--json"]].concat()).output().unwrap();
        let plan: Json = serde_json::from_slice(&output.stdout).unwrap();
        (plan, String::from_utf8(output.stderr).unwrap())
    };
    let (auto, _) = plan("auto");
    let (many, told) = plan("999");
    assert_eq!(many["n_gpu_layers"], auto["n_gpu_layers"]);
    assert_eq!(
        (&many["fits"], told.matches("as many layers on GPUs as fit").count()),
        (&true.into(), 1)
    );
    for exact in ["-1", "all", "81"] {
        let (plan, told) = plan(exact);
        assert!(plan["fits"] == false && !told.contains("as fit"), "{exact}: {told}");
    }
}

#[test]
fn number_of_gpus_can_be_limited() {
    let world = World::new();
    let line = [
        "--shape",
        SHAPE,
        "--host-memory",
        "400GiB",
        "--device",
        "24GiB,16GiB",
        "--device",
        "8GiB",
    ];
    let used = |more: &[&str]| {
        let plan = world.json(&[&line[..], more].concat());
        plan["devices"].as_array().unwrap().len()
    };
    assert_eq!(used(&[]), 3);
    assert_eq!(used(&["--max-gpu", "2"]), 2);
    assert_eq!(used(&["--max-gpu", "1", "-ngl", "999"]), 1);
    assert!(world.refusal(2, &[&line[..], &["--max-gpu", "0"]].concat()).contains("--max-gpu"));
}

#[test]
fn predicted_speed_gets_a_verdict() {
    let world = World::new();
    let line = ["--shape", SHAPE, "--host-memory", "400GiB", "--host-bandwidth", "40GB/s"];
    let plan = |more: &[&str]| world.run(0, &[&line[..], more].concat()).0;
    let slow = plan(&["--device", "RTX 3060 12GB", "--explain"]);
    assert!(slow.contains("Verdict: too slow"), "{slow}");
    assert!(
        slow.contains("System RAM in addition to the GPUs") && slow.contains("rule of thumb"),
        "{slow}"
    );
    assert!(slow.contains("processor alone"), "{slow}");
    let fast = plan(&["--device", "2x H200", "--summary"]);
    assert!(fast.contains(", comfortable for chat"), "{fast}");
    let json: Json = serde_json::from_str(&plan(&["--device", "RTX 3060 12GB", "--json"])).unwrap();
    assert_eq!(json["verdict"], "too_slow");
    let advice = json["advice"].as_array().unwrap();
    assert!(advice.iter().all(|line| slow.contains(line.as_str().unwrap())), "{advice:?}");
    assert!(advice.len() >= 2, "{advice:?}");
    let rows = plan(&["--compare", "RTX 3060 12GB", "2x H200"]);
    let verdicts: Vec<_> =
        rows.lines().map(|row| row.rsplit("  ").next().unwrap().trim()).collect();
    assert_eq!(verdicts, ["GOOD FOR", "too slow", "chat"], "{rows}");
}

#[test]
fn plans_fit_narrow_terminals() {
    let world = World::new();
    let line = ["--shape", SHAPE, "--host-memory", "400GiB", "--device", "RTX 4090"];
    for more in [&["--explain"][..], &["--sweep", "kv"], &[]] {
        let mut command = world.command(&[&line[..], more].concat());
        let (out, _) = checked(&command.env("COLUMNS", "40").output().unwrap(), 0);
        for line in out.lines().filter(|line| line.trim().contains(' ')) {
            assert!(line.chars().count() <= 40, "{line}\n{out}");
        }
    }
}
