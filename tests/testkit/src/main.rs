//! The library as a program, for tests, benchmarks and examples that are not written in Rust.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

use mullama_testkit::gguf::File;
use mullama_testkit::probe::{Verdict, probe, start_engine};
use mullama_testkit::{PRESETS, Preset, adapter, broken, preset};
use serde_json::json;

const USAGE: &str = "\
usage: mullama-testkit list                 name the models there are
       mullama-testkit path NAME [DIR]      make a model if need be, and print where it lies
       mullama-testkit write NAME FILE      write a model to a file
       mullama-testkit adapter BASE FILE S  write a random LoRA adapter for a model; S (1, 2, ...) is
                                            its seed
       mullama-testkit broken GOOD DIR      write broken variants of GOOD, a copy of 'tiny', and
                                            print [{name, file, expect, engine}] as JSON
       mullama-testkit probe FILE           load a model with the bare engine and use it once;
                                            the last line says what came of it
";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(|word| word.to_str().unwrap_or("")).collect();
    let done = match words[..] {
        ["list"] => {
            list();
            Ok(())
        }
        ["path", name] | ["path", name, _] => print_path(name, arguments.get(2).map(Path::new)),
        ["write", name, _] => named(name).and_then(|preset| preset.write(Path::new(&arguments[2]))),
        ["adapter", _, _, seed] => {
            write_adapter(Path::new(&arguments[1]), Path::new(&arguments[2]), seed)
        }
        ["broken", _, _] => break_model(Path::new(&arguments[1]), Path::new(&arguments[2])),
        ["probe", _] => return report(Path::new(&arguments[1])),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mullama-testkit: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_path(name: &str, dir: Option<&Path>) -> io::Result<()> {
    let preset = named(name)?;
    let path = dir.map_or_else(|| preset.path(), |dir| preset.path_in(dir))?;
    println!("{}", path.display());
    Ok(())
}

fn list() {
    for Preset { name, about, .. } in PRESETS {
        println!("{name:16}{about}");
    }
}

fn named(name: &str) -> io::Result<&'static Preset> {
    // Silences the quantiser, which logs a lot.
    start_engine();
    preset(name).ok_or_else(|| io::Error::other(format!("there is no model '{name}'; see 'list'")))
}

/// Writes an adapter that is strong enough to change the model's answers.
fn write_adapter(base: &Path, file: &Path, seed: &str) -> io::Result<()> {
    let seed = seed.parse().map_err(io::Error::other)?;
    fs::write(file, adapter(&File::decode(&fs::read(base)?)?, 1.0, seed).encode())
}

fn break_model(good: &Path, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut written = Vec::new();
    for broken in broken::variants(&fs::read(good)?)? {
        let file: PathBuf = dir.join(format!("{}.gguf", broken.name));
        fs::write(&file, &broken.bytes)?;
        written.push(json!({
            "name": broken.name,
            "file": file,
            "expect": broken.expect,
            "engine": broken.engine.to_string(),
        }));
    }
    println!("{}", json!(written));
    Ok(())
}

/// Prints each stage before it starts, and then the verdict, which is also the exit status.
fn report(path: &Path) -> ExitCode {
    let verdict = probe(path, |stage| println!("{stage}"));
    println!("{verdict}");
    ExitCode::from(u8::from(verdict != Verdict::Accepts))
}
