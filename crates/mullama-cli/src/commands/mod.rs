//! What each command does.

pub mod devices;
pub mod rpc_server;
pub mod run;
pub mod show;
