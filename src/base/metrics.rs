//! Structs of counters that can be iterated over by name, so that adding a counter takes one line.

use core::iter;

/// The value of a counter or gauge, for monitoring systems that export all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// The name of the field, such as `queries_in`.
    pub name: &'static str,
    /// The label that divides the field and its value, such as `("method", "get_peers")`, if any.
    pub label: Option<(&'static str, &'static str)>,
    /// The documentation of the field, on one line.
    pub help: &'static str,
    /// The current value.
    pub value: u64,
}

/// A field of a struct of metrics: a number, or a struct that divides a number by a label.
pub(crate) trait Value {
    /// Returns the metrics of the field.
    fn described(&self, name: &'static str, help: &'static str) -> impl Iterator<Item = Metric>;
}

/// Defines a struct of numbers that can be iterated over by name.
///
/// The doc comment of a field is also its help text, so it must make sense without links.
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
            /// Iterates over all metrics, under the names of the fields and in their order.
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
