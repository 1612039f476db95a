//! The macro that declares a table of options.

/// Declares a struct of options; [`crate::options`] describes what is generated from it.
///
/// A row is
///
/// ```text
/// /// What it means, its unit.
/// ("external") name: type as Kind [sampler = default]; in range; minus_one Zero; key "k"; flag "f"; short 'c'; shown true,
/// ```
///
/// Only the documentation, the name and the type are required.
///
/// - `("external")`: the name in other languages, if it differs.
/// - `name <- type`: the setter takes anything that converts to the type.
/// - `as Kind`: the notation of values in other languages, if the type does not determine it
///   ([`OptionType`](crate::options::OptionType)).
/// - `= default`, or `[sampler = default]` for an option of a sampler; `=> "text"` after it where the
///   documentation says it otherwise.
/// - `in range`: the values that are allowed ([`Allowed`](crate::options::Allowed)).
/// - `minus_one`: what -1 stands for ([`MinusOne`](crate::options::MinusOne)).
/// - `key`: the metadata of a model's file that recommends a value.
/// - `flag`, `short`, `shown`: the command's flag where it is not the name, one letter for it, and whether the
///   short help has it.
///
/// After the struct's name, `with SETTERS` defines a macro that adds the setters to a struct with this one as a field
/// (`SETTERS!(Whole.part)`), and `sampled as NAME` defines a struct of the samplers' options with all defaults
/// applied.
macro_rules! options {
    ($(#[$meta:meta])* pub struct $name:ident $rows:tt) => {
        $crate::options::table::table! { $(#[$meta])* $name $rows }
    };
    ($(#[$meta:meta])* pub struct $name:ident with $setters:ident $rows:tt) => {
        $crate::options::table::table! { $(#[$meta])* $name $rows }
        $crate::options::table::setters! { ($) $setters $rows }
    };
    (
        $(#[$meta:meta])*
        pub struct $name:ident with $setters:ident sampled as $sampled:ident $rows:tt
    ) => {
        $crate::options::table::table! { $(#[$meta])* $name $rows }
        $crate::options::table::setters! { ($) $setters $rows }
        $crate::options::table::sampled! { $name $sampled $rows }
    };
}

/// Defines one macro per entry, all of which match the rows of a table: the tokens before the rows, then the
/// expansion.
macro_rules! of_rows {
    ($rows:tt $($macro:ident ($($before:tt)*) $made:tt)+) => {
        $(
            macro_rules! $macro {
                ($($before)* $rows) => $made;
            }
        )+
    };
}

of_rows! {
    {
        $(
            $(#[doc = $doc:literal])+
            $(($external:literal))? $field:ident $sign:tt $ty:ty $(as $kind:ty)?
            $([$sampler:ident = $default:expr $(=> $text:literal)?])?
            $(= $plain:expr $(=> $plain_text:literal)?)?
            $(; in $range:expr)? $(; minus_one $minus_one:ident)? $(; key $key:literal)?
            $(; flag $flag:literal)? $(; short $short:literal)? $(; shown $shown:literal)?
        ),+ $(,)?
    }

    setters (($d:tt) $setters:ident) {
        /// Adds the setters of this table to a struct that contains it.
        macro_rules! $setters {
            ($d whole:ident . $d part:ident) => {
                impl $d whole {
                    $(
                        $crate::options::table::setter!(
                            [$d part.] $(#[doc = $doc])+
                            $(#[doc = $crate::options::table::default_text!($plain $(=> $plain_text)?)])?
                            $(#[doc = $crate::options::table::default_text!($default $(=> $text)?)])?
                            $field $sign $ty
                        );
                    )+
                }
            };
        }
        #[allow(unused_imports, reason = "a table may be used in the file that it is in alone")]
        pub(super) use $setters;
    }

    sampled ($name:ident $sampled:ident) {
        /// The options of the samplers, with all defaults applied.
        #[derive(Debug, Clone, serde::Serialize)]
        pub(crate) struct $sampled {
            $($(
                #[doc = concat!("Of the sampler `", stringify!($sampler), "`.")]
                pub $field: $ty,
            )?)+
        }

        impl $sampled {
            /// The requested value, else the model's recommendation, else the default.
            pub fn resolve(asked: &$name, model: &$name) -> Self {
                Self {
                    $($(
                        $field: asked
                            .$field
                            .clone()
                            .or_else(|| model.$field.clone())
                            .unwrap_or_else(|| $default),
                    )?)+
                }
            }
        }
    }

    table ($(#[$meta:meta])* $name:ident) {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq)]
        #[non_exhaustive]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                $(#[doc = $crate::options::table::default_text!($plain $(=> $plain_text)?)])?
                $(#[doc = $crate::options::table::default_text!($default $(=> $text)?)])?
                pub $field: Option<$ty>,
            )+
        }

        #[allow(dead_code, reason = "not every table is used in each of these ways")]
        impl $name {
            /// Sets each option that is unset here to its value in `other`.
            pub(crate) fn fill(&mut self, other: &Self) {
                $(
                    if self.$field.is_none() {
                        self.$field.clone_from(&other.$field);
                    }
                )+
            }

            /// Refuses values outside the range of their option.
            pub(crate) fn check(&self) -> $crate::Result<()> {
                $(
                    let _name = $crate::options::table::external_name!($field $($external)?);
                    $(
                        if let Some(value) = &self.$field {
                            $crate::options::check_range(_name, value, &$range)?;
                        }
                    )?
                )+
                Ok(())
            }

            $( $crate::options::table::settled!($field: $ty $(= $plain)?); )+

            /// The values that a model file recommends. `read` returns the metadata of a key.
            pub(crate) fn recommended(read: impl Fn(&str) -> Option<String>) -> Self {
                let _ = &read;
                Self {
                    $($( $field: read($key).and_then(|text| text.parse().ok()), )?)+
                    ..Self::default()
                }
            }

            $(
                $crate::options::table::setter!(
                    [] $(#[doc = $doc])+
                    $(#[doc = $crate::options::table::default_text!($plain $(=> $plain_text)?)])?
                    $(#[doc = $crate::options::table::default_text!($default $(=> $text)?)])?
                    $field $sign $ty
                );
            )+
        }

        impl $crate::OptionSet for $name {
            fn specs(&self) -> &'static [$crate::OptionSpec] {
                &[$(
                    #[allow(clippy::needless_update, reason = "not every row has every column")]
                    $crate::OptionSpec {
                        name: $crate::options::table::external_name!($field $($external)?),
                        doc: concat!(
                            $($doc, "\n",)+
                            $($crate::options::table::default_text!($plain $(=> $plain_text)?), "\n",)?
                            $($crate::options::table::default_text!($default $(=> $text)?), "\n",)?
                        ),
                        kind: $crate::options::table::kind!($ty $(, $kind)?),
                        $( minus_one: $crate::options::MinusOne::$minus_one, )?
                        $( sampler: Some(stringify!($sampler)), )?
                        $( key: Some($key), )?
                        $( flag: Some($flag), )?
                        $( short: Some($short), )?
                        $( shown: $shown, )?
                        ..$crate::OptionSpec::EMPTY
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
                        // Converting an option to a `Value` cannot fail: all map keys are strings.
                        let value = serde_json::to_value(value).unwrap_or_default();
                        let name = $crate::options::table::external_name!($field $($external)?);
                        given.insert(name.to_owned(), value);
                    }
                )+
                given
            }
        }

        /// Serialises the options that are set.
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                $(
                    if let Some(value) = &self.$field {
                        let name = $crate::options::table::external_name!($field $($external)?);
                        serde::ser::SerializeMap::serialize_entry(&mut map, name, value)?;
                    }
                )+
                serde::ser::SerializeMap::end(map)
            }
        }
    }
}

macro_rules! setter {
    ($path:tt $(#[doc = $doc:expr])+ $field:ident <- $ty:ty) => {
        $crate::options::table::setter!(@define $path $(#[doc = $doc])+ $field, impl Into<$ty>, Into::into);
    };
    ($path:tt $(#[doc = $doc:expr])+ $field:ident : $ty:ty) => {
        $crate::options::table::setter!(@define $path $(#[doc = $doc])+ $field, $ty, std::convert::identity);
    };
    (@define [$($path:tt)*] $(#[doc = $doc:expr])+ $field:ident, $arg:ty, $convert:path) => {
        pastey::paste! {
            $(#[doc = $doc])+
            #[must_use]
            pub fn [<with_ $field>](mut self, value: $arg) -> Self {
                self.$($path)* $field = Some($convert(value));
                self
            }
        }
    };
}

/// The requested value, else the default.
macro_rules! settled {
    ($field:ident: $ty:ty = $default:expr) => {
        pastey::paste! {
            pub(crate) fn [<settled_ $field>](&self) -> $ty {
                self.$field.clone().unwrap_or_else(|| $default)
            }
        }
    };
    ($field:ident: $ty:ty) => {};
}

macro_rules! external_name {
    ($field:ident $external:literal) => {
        $external
    };
    ($field:ident) => {
        stringify!($field)
    };
}

/// The sentence of the documentation that states the default.
macro_rules! default_text {
    ($default:expr => $text:literal) => {
        concat!(" Default: ", $text, ".")
    };
    ($default:expr) => {
        concat!(" Default: ", stringify!($default), ".")
    };
}

macro_rules! kind {
    ($ty:ty, $kind:ty) => {
        <$kind as $crate::options::OptionType>::KIND
    };
    ($ty:ty) => {
        <$ty as $crate::options::OptionType>::KIND
    };
}

#[allow(clippy::single_component_path_imports, reason = "some are defined by a macro")]
pub(crate) use {
    default_text, external_name, kind, options, sampled, setter, setters, settled, table,
};
