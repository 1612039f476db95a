//! Looks up host names on a thread of its own, so that the wait can be limited.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use mullama_base::thread_error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// A resolver that fails if no thread can be started. That of `ureq` panics.
#[derive(Debug)]
pub(crate) struct ThreadResolver;

impl Resolver for ThreadResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let (uri, config) = (uri.clone(), config.clone());
        let look_up = move || {
            // Without a limit, this starts no further thread.
            let found = DefaultResolver::default().resolve(&uri, &config, NextTimeout::default());
            let _ = sender.send(found);
        };
        thread::Builder::new()
            .name("mullama-resolver".to_owned())
            .spawn(look_up)
            .map_err(|error| ureq::Error::Other(Box::new(thread_error("a thread", error))))?;
        receiver.recv_timeout(*timeout.after).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => Err(ureq::Error::Timeout(timeout.reason)),
            RecvTimeoutError::Disconnected => Err(ureq::Error::HostNotFound),
        })
    }
}
