//! Names the model after its content, so that versions have different names, and copies it to the engine's other
//! run-time files in `target/<profile>/mullama-engine`.

use std::env;
use std::fs;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=demo.gguf");
    let bytes = fs::read("demo.gguf").expect("demo.gguf lies beside this script");
    // FNV-1a, 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let name = format!("demo-{hash:016x}.gguf");
    println!("cargo:rustc-env=MULLAMA_DEMO_NAME={name}");
    stage(&name, &bytes);
}

/// Writes a temporary file and renames it, so that a process that has mapped an older file is not affected.
fn stage(name: &str, bytes: &[u8]) {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // `OUT_DIR` is `target/<profile>/build/<package>/out`.
    let profile = out_dir.ancestors().nth(3).expect("OUT_DIR lies in target/<profile>");
    let staged = profile.join("mullama-engine");
    let partial = staged.join(format!("{name}.partial-{}", std::process::id()));
    for entry in fs::read_dir(&staged).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("demo-") {
            let _ = fs::remove_file(entry.path());
        }
    }
    fs::create_dir_all(&staged)
        .and_then(|()| fs::write(&partial, bytes))
        .and_then(|()| fs::rename(&partial, staged.join(name)))
        .unwrap_or_else(|error| panic!("cannot place {name} in {}: {error}", staged.display()));
}
