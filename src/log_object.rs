//! Log lines about an object: in a JSON line its parts are fields beside the message. A macro, so that each line keeps the
//! module that logs it, by which RUST_LOG filters; in a file of its own, because [`crate::object`] is pure.

/// Logs at a level about an [`ObjectRef`](crate::object::ObjectRef). The field `cluster` of an object in the local cluster is
/// empty, and an empty field is not written.
macro_rules! log_object {
    ($level:expr, $object:expr, $($message:tt)+) => {{
        let object: &$crate::object::ObjectRef = $object;
        ::log::log!(
            $level,
            namespace:% = object.namespace,
            kind:% = object.kind,
            name = object.name(),
            cluster = object.cluster.id().map_or("", |id| id.as_str());
            $($message)+
        )
    }};
}
pub(crate) use log_object;
