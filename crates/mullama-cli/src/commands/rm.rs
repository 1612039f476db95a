//! `mullama rm`

use clap::ArgMatches;
use mullama::hub::{BUILT_IN, Store};
use mullama::{Error, ErrorKind};
use mullama_base::units;

use super::store_name;
use crate::failure::Failure;
use crate::terminal::print;

/// Removes all models that can be removed; fails with the last failure, if any.
pub fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    let store = Store::open()?;
    let mut failed = None;
    for name in arguments.get_many::<String>("name").into_iter().flatten() {
        match remove(&store, name) {
            Err(Failure::Output(error)) => return Err(error.into()),
            Err(failure) => {
                if let Some(earlier) = failed.replace(failure) {
                    earlier.report();
                }
            }
            Ok(()) => {}
        }
    }
    failed.map_or(Ok(()), Err)
}

fn remove(store: &Store, name: &str) -> Result<(), Failure> {
    let name = store_name(name)?;
    if name.is_built_in() {
        let message = format!("{BUILT_IN} is the built-in model and cannot be removed");
        return Err(Error::new(ErrorKind::InvalidArgument, message).into());
    }
    let removed = store.remove(&name)?;
    print(format_args!("removed {name}, {} freed\n", units::decimal(removed.freed)))?;
    Ok(())
}
