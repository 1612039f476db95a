//! The process that tries inputs. It prints a line of JSON when an input begins, and one with its outcome.

use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::{env, fs, panic};

use serde_json::{Value, json};

use crate::driver::MAX_MEMORY;
use crate::input::Input;
use crate::memory;
use crate::outcome::Outcome;
use crate::targets::Target;

/// Environment variable with the folder that a worker writes to.
pub const FOLDER: &str = "MULLAMA_FUZZ_FOLDER";
/// Subfolder with the parts of the current input.
pub const INPUT: &str = "input";

/// The first panic of any thread during the current input.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Tries `count` inputs, at intervals of `step`.
pub fn run(target: &Target, first: u64, step: u64, count: u64) {
    let folder = PathBuf::from(env::var_os(FOLDER).expect("the driver names a folder"));
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        note_panic(info.to_string());
        usual(info);
    }));
    mullama::log_to_stderr();
    let mut fuzz = (target.start)(&folder);
    let input_folder = folder.join(INPUT);
    for index in 0..count {
        let number = first + index * step;
        let _ = fs::remove_dir_all(&input_folder);
        fs::create_dir_all(&input_folder).expect("a folder for the input");
        tell(&json!({ "begin": number }));
        memory::reset_peak();
        let mut input = Input::new(&input_folder, number);
        let mut outcome = catch_unwind(AssertUnwindSafe(|| fuzz(&mut input))).unwrap_or_default();
        let panicked = PANIC.lock().ok().and_then(|mut panic| panic.take());
        if let Some(panicked) = panicked {
            outcome.wrong(format!("a panic: {panicked}"));
        }
        let peak = memory::peak();
        tell(&outcome.to_json(number, peak));
        // The driver stores the input, which is in the folder.
        if outcome.wrong.is_some() || peak > MAX_MEMORY {
            return;
        }
    }
}

fn note_panic(what: String) {
    if let Ok(mut panic) = PANIC.lock() {
        panic.get_or_insert(what);
    }
}

fn tell(line: &Value) {
    let mut out = io::stdout().lock();
    // The driver has ended.
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// The function that tries an input.
pub type Fuzz = Box<dyn FnMut(&mut Input) -> Outcome>;
