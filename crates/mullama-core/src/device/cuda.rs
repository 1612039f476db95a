//! Applies the settings of the CUDA backend.

use std::sync::OnceLock;

use crate::options::CudaSettings;
use crate::runtime;
use crate::{Error, Result};

/// The settings of this process, decided by the first model that is loaded.
static APPLIED: OnceLock<CudaSettings> = OnceLock::new();

/// Applies the settings before a model is loaded. Fails if the process has other ones.
pub(crate) fn apply(asked: Option<&CudaSettings>) -> Result<()> {
    if runtime::is_loaded("cuda") {
        return decide(&APPLIED, asked, set_variables);
    }
    if asked.is_some() {
        log::warn!("the settings of `cuda` have no effect: there is no CUDA backend");
    }
    Ok(())
}

fn decide(
    applied: &OnceLock<CudaSettings>,
    asked: Option<&CudaSettings>,
    apply: impl FnOnce(&CudaSettings),
) -> Result<()> {
    let first = applied.get_or_init(|| {
        let settings = asked.cloned().unwrap_or_default();
        apply(&settings);
        settings
    });
    if asked.is_some_and(|asked| asked != first) {
        let problem =
            "the process has loaded a model with other settings, and CUDA reads them once";
        return Err(Error::option("cuda", problem)
            .with_hint("set the same for every model, or load this model in another process"));
    }
    Ok(())
}

fn set_variables(settings: &CudaSettings) {
    for (name, value) in settings.variables() {
        // SAFETY: the C library serialises changes of the environment. Another thread may read it at this moment
        // without the library's lock; every program that changes its environment has this risk. This is done once,
        // before the first model.
        unsafe {
            match value {
                Some(value) => std::env::set_var(name, value),
                None => std::env::remove_var(name),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_model_sets_cuda_settings() {
        let applied = OnceLock::new();
        let mut count = 0;
        let no_graphs = CudaSettings::default().with_graphs(false);
        decide(&applied, Some(&no_graphs), |settings| {
            assert_eq!(*settings, no_graphs);
            count += 1;
        })
        .unwrap();
        decide(&applied, Some(&no_graphs), |_| panic!("it was applied twice")).unwrap();
        decide(&applied, None, |_| panic!("it was applied twice")).unwrap();
        let other = CudaSettings::default().with_fusion(false);
        let error = decide(&applied, Some(&other), |_| panic!("it was applied twice")).unwrap_err();
        assert!(error.to_string().contains("the process has loaded"), "{error}");
        assert_eq!(count, 1);
    }
}
