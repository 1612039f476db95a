//! `mullama version`

use crate::arguments;
use crate::failure::Failure;
use crate::terminal::print;

pub fn run() -> Result<(), Failure> {
    Ok(print(arguments::command().render_version())?)
}
