//! The samplers whose order can be set.

use serde::{Deserialize, Serialize};

use super::kind::{FlagForm, option_type};

/// A sampler, by its name in the option `samplers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SamplerKind {
    /// `repeat_penalty`, `frequency_penalty` and `presence_penalty`.
    Penalties,
    /// DRY.
    Dry,
    /// `top_n_sigma`.
    TopNSigma,
    /// `top_k`.
    TopK,
    /// `typical_p`.
    TypicalP,
    /// `top_p`.
    TopP,
    /// `min_p`.
    MinP,
    /// XTC.
    Xtc,
    /// `temperature`, and the dynamic temperature (`dynatemp_range`).
    Temperature,
}

impl SamplerKind {
    /// All samplers, in the default order of llama.cpp (`common/common.h`).
    pub const ALL: [Self; 9] = [
        Self::Penalties,
        Self::Dry,
        Self::TopNSigma,
        Self::TopK,
        Self::TypicalP,
        Self::TopP,
        Self::MinP,
        Self::Xtc,
        Self::Temperature,
    ];
}

option_type! {
    Vec<SamplerKind>: "Sequence[SamplerKind]", "SamplerKind[]", FlagForm::Names;
}
