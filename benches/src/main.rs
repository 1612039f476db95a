//! Measures mullama from Rust against the floor: see `README.md`.

mod draft;
mod embedding;
mod hub;
mod many;
mod measure;
mod memory;
mod placement;
mod samples;
mod settings;

use std::process::ExitCode;

use settings::{Model, threads};

const USAGE: &str = "\
usage: mullama-bench measure [--rounds N] [--threads N] NAME=PATH...
                                               decoding and prefill, floor and mullama
       mullama-bench embed [--rounds N] [--threads N] NAME=PATH...
                                               embedding, floor and mullama, many texts and one
       mullama-bench memory NAME=PATH...       resident memory of both, a process each
       mullama-bench rss floor|mullama PATH    resident KiB of this process, after use
       mullama-bench many NAME=PATH ROUNDS [PART...]
                                               many requests at once, and what they share; a part is
                                               together, shared, turn, kept, guesses, grammar or
                                               fairness
       mullama-bench draft MODEL DRAFT ROUNDS  a draft model against plain decoding
       mullama-bench placement NAME=PATH... rpc=HOST:PORT...
                                               what is planned, and what is allocated, also by workers
       mullama-bench hub ROUNDS PATH           downloads of a model, lists, the first character
       mullama-bench fetch HOST PATH FILE      a plain download
       mullama-bench speeds                    what speeds are predicted, and measured
       mullama-bench threads                   how many threads are measured with by default
NAME is one of `settings.json`; PATH may be `demo`. Samples go to standard output, a JSON object a
line; a summary goes to standard error.
";

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["measure", ref rest @ ..] => measure_all(rest, measure::run),
        ["embed", ref rest @ ..] => measure_all(rest, embedding::run),
        ["memory", ref models @ ..] => models
            .iter()
            .try_for_each(|model| Model::parse(model).and_then(|model| memory::compare(&model))),
        ["rss", "floor", path] => memory::rss_floor(path),
        ["rss", "mullama", path] => memory::rss_mullama(path),
        ["many", model, rounds, ref parts @ ..] => {
            rounds.parse().map_err(Into::into).and_then(|rounds| {
                let (name, path) = model.split_once('=').ok_or("a model is NAME=PATH")?;
                many::report(name, path, rounds, threads(), parts)
            })
        }
        ["draft", model, draft, rounds] => rounds
            .parse()
            .map_err(Into::into)
            .and_then(|rounds| draft::report(model, draft, rounds, threads())),
        ["placement", ref words @ ..] => {
            let pairs = words.iter().filter_map(|word| word.split_once('='));
            let pairs = pairs.map(|(name, path)| (name.to_owned(), path.to_owned()));
            let (workers, models): (Vec<_>, Vec<_>) = pairs.partition(|(name, _)| name == "rpc");
            let workers: Vec<_> = workers.into_iter().map(|(_, address)| address).collect();
            placement::report(&models, &workers)
        }
        ["hub", rounds, path] => match rounds.parse() {
            Ok(rounds) if rounds > 0 => hub::report(rounds, path),
            _ => Err("ROUNDS is a number above 0".into()),
        },
        ["fetch", host, path, file] => hub::fetch(host, path, file),
        ["speeds"] => placement::speeds(),
        ["threads"] => {
            println!("{}", threads());
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mullama-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures the models that follow the options.
fn measure_all(words: &[&str], run: fn(&Model, u32) -> Result<()>) -> Result<()> {
    let (mut rounds, mut n_threads) = (None, threads());
    let mut rest = words;
    loop {
        rest = match rest {
            ["--rounds", number, rest @ ..] => {
                rounds = Some(number.parse()?);
                rest
            }
            ["--threads", number, rest @ ..] => {
                n_threads = number.parse()?;
                rest
            }
            models => {
                return models.iter().try_for_each(|model| {
                    let mut model = Model::parse(model)?;
                    model.sizes.rounds = rounds.unwrap_or(model.sizes.rounds);
                    run(&model, n_threads)
                });
            }
        };
    }
}
