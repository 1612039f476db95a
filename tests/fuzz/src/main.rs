//! Tries random and damaged inputs of every kind: models, templates, schemas, states, answers of servers.
//!
//! `run` divides the time among the targets. Each input is determined by its target and number, and is tried in a
//! process that may crash. An input fails if it ends the process, takes longer than [`driver::MAX_TIME`] or more memory
//! than [`driver::MAX_MEMORY`], or has an impossible result; it is stored in `target/fuzz/failures`, and the run
//! fails. `one` tries such an input again.

mod driver;
mod grammar;
mod input;
mod memory;
mod mutate;
mod outcome;
mod targets;
mod worker;

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use driver::Plan;
use targets::{TARGETS, Target};

const USAGE: &str = "\
usage: mullama-fuzz list                              name the targets
       mullama-fuzz run [--minutes N | --inputs N] [--first N] [--jobs N] [TARGET]...
                                                      try inputs, from number N on: for N minutes in all
                                                      (default 1), or N of each target
       mullama-fuzz one TARGET NUMBER                 try one input here, and say what it is
";

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["list"] => {
            for Target { name, about, .. } in TARGETS {
                println!("{name:12}{about}");
            }
            Some(ExitCode::SUCCESS)
        }
        ["run", ..] => plan(&words[1..]).map(|plan| driver::run(&plan)),
        ["one", name, number] => {
            find(name).zip(number.parse().ok()).map(|(target, number)| driver::one(target, number))
        }
        // Started by the two above, and by such a worker.
        ["worker", name, first, step, count] => find(name)
            .zip(first.parse().ok())
            .zip(step.parse().ok().zip(count.parse().ok()))
            .map(|((target, first), (step, count))| {
                worker::run(target, first, step, count);
                ExitCode::SUCCESS
            }),
        ["serve", address] => Some(targets::serve(address)),
        _ => None,
    };
    done.unwrap_or_else(|| {
        eprint!("{USAGE}");
        ExitCode::from(2)
    })
}

fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

fn plan(words: &[&str]) -> Option<Plan> {
    let mut plan = Plan::default();
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        let mut number = || words.next()?.parse::<u64>().ok();
        match word {
            "--minutes" => plan.time = Some(Duration::from_secs(60 * number()?)),
            "--inputs" => plan.inputs = Some(number()?),
            "--first" => plan.first = number()?,
            "--jobs" => plan.jobs = number()?.max(1),
            name => plan.targets.push(find(name)?),
        }
    }
    Some(plan)
}
