//! Structs of counters that can be iterated over by name, so that a counter is one line.

use core::iter;

/// A counter or a level, for a monitor that takes whatever there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// The name of its field, such as `queries_in`.
    pub name: &'static str,
    /// By what the field is divided and which part this is, such as `("method", "get_peers")`;
    /// `None` where it is not divided.
    pub label: Option<(&'static str, &'static str)>,
    /// The documentation of the field, as one line.
    pub help: &'static str,
    /// What it stands at.
    pub value: u64,
}

/// What may stand in a struct of metrics: a number, or a struct of numbers that divides one.
pub(crate) trait Value {
    fn described(&self, name: &'static str, help: &'static str) -> impl Iterator<Item = Metric>;
}

/// A struct of numbers that can be gone through by name. The comment of a field is its help text as
/// well, so it must read well without links.
macro_rules! metrics {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident {
            $($(#[doc = $help:literal])+ $(#[cfg($cfg:meta)])? pub $field:ident: $value:ty,)+
        }
    ) => {
        $(#[$attribute])*
        pub struct $name {
            $($(#[doc = $help])+ $(#[cfg($cfg)])? pub $field: $value,)+
        }

        impl $name {
            /// All of it, under the names of the fields and in their order.
            pub fn metrics(&self) -> impl Iterator<Item = $crate::base::metrics::Metric> {
                use $crate::base::metrics::Value as _;
                let all = core::iter::empty();
                $(
                    $(#[cfg($cfg)])?
                    let all = all.chain(
                        self.$field.described(stringify!($field), concat!($($help),+).trim_ascii_start())
                    );
                )+
                all
            }
        }
    };
}
pub(crate) use metrics;

impl Value for u64 {
    fn described(&self, name: &'static str, help: &'static str) -> impl Iterator<Item = Metric> {
        iter::once(Metric { name, label: None, help, value: *self })
    }
}

impl Value for u32 {
    fn described(&self, name: &'static str, help: &'static str) -> impl Iterator<Item = Metric> {
        iter::once(Metric { name, label: None, help, value: (*self).into() })
    }
}

impl Value for usize {
    fn described(&self, name: &'static str, help: &'static str) -> impl Iterator<Item = Metric> {
        iter::once(Metric { name, label: None, help, value: *self as u64 })
    }
}
