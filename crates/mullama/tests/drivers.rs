//! Modules that need a driver are not loaded before a GPU of this machine is first requested.

use std::process::Command;
use std::{env, fs, thread};

use mullama::{DeviceSpec, PlanOptions, gpu, plan};

const NAME: &str = "gpu_modules_are_loaded_on_demand";

#[test]
fn gpu_modules_are_loaded_on_demand() {
    if env::var_os("MULLAMA_BACKENDS").is_some() {
        return in_a_process_of_its_own();
    }
    let folder = tempfile::tempdir().unwrap();
    // Loading it fails, which is visible in the list of backends.
    fs::write(folder.path().join("libggml-text.so"), "this is no library").unwrap();
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", NAME])
        .env("MULLAMA_BACKENDS", folder.path())
        .env("XDG_CACHE_HOME", folder.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}

fn in_a_process_of_its_own() {
    let planned = || {
        let options = PlanOptions::default().with_devices([DeviceSpec::new(1 << 30)]);
        plan("demo", &options.with_alternatives(false)).unwrap().n_gpu_layers
    };
    let layers = planned();
    assert!(layers > 0);
    // Plans continue during the loading of modules, which waits for plans that have begun.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(planned(), layers));
        }
        let backends = gpu::backends();
        let tried = backends.iter().find(|backend| backend.name == "text");
        assert!(tried.is_some_and(|backend| !backend.loaded), "{backends:?}");
    });
    assert_eq!(planned(), layers);
    assert!(gpu::devices().iter().any(|device| device.name == "CPU"));
}
