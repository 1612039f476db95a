//! `mullama create`

use std::path::Path;

use clap::ArgMatches;
use mullama::hub::{CreateOptions, Modelfile};
use mullama::{Error, ErrorKind, GgufHeader, create_model};
use mullama_base::folders;

use super::{piped, store_name, text};
use crate::failure::Failure;
use crate::progress::Display;
use crate::terminal::{catch_interrupts, interrupt_token, print, print_message};

pub fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    let name = store_name(text(arguments, "name"))?;
    let file = text(arguments, "file");
    let modelfile = read(file)?;
    catch_interrupts();
    let mut display = Display::new();
    let mut options = CreateOptions::default()
        .with_cancel(&interrupt_token())
        .with_progress(|progress| display.update(progress));
    if file != "-" {
        let file = folders::expand_home(Path::new(file));
        options = options.with_folder(file.parent().unwrap_or(Path::new("")));
    }
    let made = create_model(&name, &modelfile, options);
    drop(display);
    let made = made?;
    print(format_args!("created {}\n", made.name))?;
    let has_template = || {
        let header = GgufHeader::read_metadata(&made.path);
        header.is_ok_and(|header| header.text("tokenizer.chat_template").is_some())
    };
    if modelfile.template.is_some() && has_template() {
        print_message(
            "note: TEMPLATE has no effect: the file of the model has a chat template, which is used; --chat-template FILE \
             of `run` replaces it",
        );
    }
    Ok(())
}

fn read(file: &str) -> Result<Modelfile, Error> {
    if file != "-" {
        return Modelfile::read(folders::expand_home(Path::new(file))).map_err(|error| match error
            .kind()
        {
            ErrorKind::NotFound => error.with_hint("give its path with -f"),
            _ => error,
        });
    }
    Modelfile::from_bytes(&piped("Modelfile")?)
}
