//! What each command does.

pub mod devices;
pub mod run;
pub mod show;
