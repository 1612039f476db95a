//! `mullama create`

use std::io::{Read as _, Write as _, stdin, stdout};
use std::path::Path;

use clap::ArgMatches;
use mullama::hub::{CreateOptions, Modelfile, Store};
use mullama::{Error, ErrorKind};

use super::{store_name, text};
use crate::failure::Failure;
use crate::progress::Display;
use crate::terminal::{catch_interrupts, interrupt};

pub fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    let name = store_name(text(arguments, "name"))?;
    let file = text(arguments, "file");
    let modelfile = Modelfile::parse(&read(file)?)?;
    catch_interrupts();
    let mut display = Display::new();
    let mut options = CreateOptions::default()
        .with_cancel(&interrupt())
        .with_progress(|progress| display.update(progress));
    if file != "-" {
        options = options.with_folder(Path::new(file).parent().unwrap_or(Path::new("")));
    }
    let made = Store::open()?.create(&name, &modelfile, options);
    drop(display);
    writeln!(stdout(), "created {}", made?.name)?;
    Ok(())
}

fn read(file: &str) -> Result<String, Error> {
    let mut text = String::new();
    let read = match file {
        "-" => stdin().read_to_string(&mut text).map(|_| text),
        path => std::fs::read_to_string(path),
    };
    read.map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::InvalidData => ErrorKind::InvalidArgument,
            _ => ErrorKind::Io,
        };
        Error::new(kind, format!("cannot read the Modelfile {file}: {error}"))
            .with_hint("give its path with -f")
    })
}
