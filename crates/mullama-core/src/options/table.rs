//! The macro that declares a table of options.

/// Declares a struct of options; see the module's documentation.
///
/// A field is `name: type`, `("external") name: type` where other languages have another name,
/// or `name <- type` where the setter takes anything that converts. `with SETTERS` after the struct's name
/// makes a macro of that name, which gives a struct that has this one as a part the setters too:
/// `SETTERS!(Whole.part)`.
macro_rules! options {
    ($(#[$meta:meta])* pub struct $name:ident with $setters:ident $fields:tt) => {
        $crate::options::table::options! { $(#[$meta])* pub struct $name $fields }
        $crate::options::table::options! { @setters ($) $setters $fields }
    };
    (
        @setters ($d:tt) $setters:ident {
            $( $(#[doc = $doc:literal])+ $(($external:literal))? $field:ident $sign:tt $ty:ty ),+ $(,)?
        }
    ) => {
        /// Gives a struct of which this table is a part its setters.
        macro_rules! $setters {
            ($d whole:ident . $d part:ident) => {
                impl $d whole {
                    $( $crate::options::table::setter!([$d part.] $(#[doc = $doc])+ $field $sign $ty); )+
                }
            };
        }
        #[allow(unused_imports, reason = "a table may be used in the file that it is in alone")]
        pub(super) use $setters;
    };
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $(($external:literal))? $field:ident $sign:tt $ty:ty
            ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default)]
        #[non_exhaustive]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: Option<$ty>, )+
        }

        impl $name {
            /// Takes from the other what is not set here.
            #[allow(dead_code, reason = "not every set is filled from another")]
            pub(crate) fn fill(&mut self, other: &Self) {
                $(
                    if self.$field.is_none() {
                        self.$field.clone_from(&other.$field);
                    }
                )+
            }

            $( $crate::options::table::setter!([] $(#[doc = $doc])+ $field $sign $ty); )+
        }

        impl $crate::OptionSet for $name {
            fn specs(&self) -> &'static [$crate::OptionSpec] {
                &[$(
                    $crate::OptionSpec {
                        name: $crate::options::table::external_name!($field $($external)?),
                        ty: stringify!($ty),
                        doc: concat!($($doc, "\n"),+),
                    },
                )+]
            }

            fn set(&mut self, name: &str, value: serde_json::Value) -> serde_json::Result<()> {
                $(
                    if name == $crate::options::table::external_name!($field $($external)?) {
                        self.$field = Some(serde_json::from_value(value)?);
                        return Ok(());
                    }
                )+
                unreachable!("{name} is not among the specs")
            }

            fn given(&self) -> serde_json::Map<String, serde_json::Value> {
                let mut given = serde_json::Map::new();
                $(
                    if let Some(value) = &self.$field {
                        // Writing an option to a `Value` cannot fail: their maps have text for keys.
                        let value = serde_json::to_value(value).unwrap_or_default();
                        given.insert($crate::options::table::external_name!($field $($external)?).to_owned(), value);
                    }
                )+
                given
            }
        }
    };
}

macro_rules! setter {
    ($path:tt $(#[$doc:meta])+ $field:ident <- $ty:ty) => {
        $crate::options::table::setter!(@define $path $(#[$doc])+ $field, impl Into<$ty>, Into::into);
    };
    ($path:tt $(#[$doc:meta])+ $field:ident : $ty:ty) => {
        $crate::options::table::setter!(@define $path $(#[$doc])+ $field, $ty, std::convert::identity);
    };
    (@define [$($path:tt)*] $(#[$doc:meta])+ $field:ident, $arg:ty, $convert:path) => {
        pastey::paste! {
            $(#[$doc])+
            #[must_use]
            pub fn [<with_ $field>](mut self, value: $arg) -> Self {
                self.$($path)* $field = Some($convert(value));
                self
            }
        }
    };
}

macro_rules! external_name {
    ($field:ident $external:literal) => {
        $external
    };
    ($field:ident) => {
        stringify!($field)
    };
}

pub(crate) use {external_name, options, setter};
