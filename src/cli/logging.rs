//! Log records on the standard error, as text or as JSON lines.
//!
//! Messages are escaped for a terminal here, because some contain paths and keys that other users chose.
//!
//! Only podcreds' own records are written, whatever RUST_LOG selects: a record of an HTTP library may contain a header or a body.

use std::io::Write;
use std::time::SystemTime;

use env_logger::{Builder, Logger, Target};
use humantime::format_rfc3339_millis;
use log::kv::{self, Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};
use serde_json::Map;

use crate::cli::args::LogFormat;
use crate::text::{Printable, formattable};

/// The fields of a JSON line beside time, level and message, in their order on the line. They name credentials, objects and
/// versions of the volume, never a value.
const FIELDS: [&str; 6] = ["credential", "namespace", "kind", "name", "cluster", "bundle"];

/// Starts the logger. `level` takes precedence over `rust_log`, which has env_logger's syntax.
pub(crate) fn start(level: Option<LevelFilter>, format: LogFormat, rust_log: Option<&str>) {
    let mut builder = Builder::new();
    builder.target(Target::Stderr);
    match (level, rust_log) {
        (Some(level), _) => builder.filter_level(level),
        (None, Some(filters)) if concerns_us(filters) => builder.parse_filters(filters),
        (None, _) => builder.filter_level(LevelFilter::Info),
    };
    match format {
        LogFormat::Text => builder.format(|out, record| {
            let time = format_rfc3339_millis(formattable(SystemTime::now()));
            writeln!(out, "{time} {:<5} {}", record.level(), Printable(&record.args().to_string()))
        }),
        LogFormat::Json => builder.format(|out, record| writeln!(out, "{}", json_line(record))),
    };
    let logger = builder.build();
    let max_level = logger.filter();
    // Fails only if a logger is set already.
    if log::set_boxed_logger(Box::new(OwnRecords(logger))).is_ok() {
        log::set_max_level(max_level);
    }
}

/// One log record as a JSON object.
fn json_line(record: &Record<'_>) -> serde_json::Value {
    let mut fields = Fields(Map::new());
    fields.insert("time", format_rfc3339_millis(formattable(SystemTime::now())).to_string());
    fields.insert("level", record.level().as_str().to_ascii_lowercase());
    fields.insert("message", Printable(&record.args().to_string()).to_string());
    // Fails only if a visitor does.
    let _ = record.key_values().visit(&mut fields);
    fields.0.into()
}

struct Fields(Map<String, serde_json::Value>);

impl Fields {
    fn insert(&mut self, key: &str, value: String) {
        self.0.insert(key.to_owned(), value.into());
    }
}

impl<'a> VisitSource<'a> for Fields {
    fn visit_pair(&mut self, key: Key<'a>, value: Value<'a>) -> Result<(), kv::Error> {
        let value = value.to_string();
        if FIELDS.contains(&key.as_str()) && !value.is_empty() {
            self.insert(key.as_str(), value);
        }
        Ok(())
    }
}

/// Whether a filter selects podcreds, by its name or for all targets. RUST_LOG may be meant for the application, as all
/// containers of a pod often share it.
fn concerns_us(filters: &str) -> bool {
    filters.split([',', '/']).map(str::trim).any(|filter| {
        is_own(filter.split('=').next().unwrap_or_default()) || filter.parse::<LevelFilter>().is_ok()
    })
}

struct OwnRecords(Logger);

impl Log for OwnRecords {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_own(metadata.target()) && self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if is_own(record.target()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

fn is_own(target: &str) -> bool {
    target == "podcreds" || target.starts_with("podcreds::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_counts_if_it_is_for_all_targets_or_for_podcreds() {
        for ours in [
            "debug",
            "off",
            "myapp=info,warn",
            "podcreds=debug",
            "podcreds::kube=debug,myapp=off",
            "trace,ureq=off",
        ] {
            assert!(concerns_us(ours), "{ours}");
        }
        for theirs in ["", "myapp=debug", "myapp", "podcredsx=debug", "ureq=trace,rustls=trace"] {
            assert!(!concerns_us(theirs), "{theirs}");
        }
    }

    #[test]
    fn a_json_line_has_the_fields_of_its_object() {
        let pairs: [(&str, Value<'_>); 6] = [
            ("namespace", "prod".into()),
            ("kind", "Secret".into()),
            ("name", "db \"1\"".into()),
            ("cluster", "".into()),
            ("bundle", "..2026_11_26".into()),
            ("password", "test-password".into()),
        ];
        let mut record = Record::builder();
        record.level(log::Level::Warn).key_values(&pairs);
        let line = json_line(&record.args(format_args!("not found")).build());
        let mut fields = line.as_object().unwrap().clone();
        assert_eq!(
            fields.remove("time").unwrap().as_str().map(str::len),
            Some("2026-11-26T09:30:00.125Z".len())
        );
        let expected = serde_json::json!({
            "level": "warn",
            "message": "not found",
            "namespace": "prod",
            "kind": "Secret",
            "name": "db \"1\"",
            "bundle": "..2026_11_26",
        });
        assert_eq!(serde_json::Value::from(fields), expected);
    }

    #[test]
    fn a_line_about_an_object_has_its_parts() {
        use std::sync::Mutex;

        use crate::kube::log_object;
        use crate::object::{ClusterId, ClusterRef, Kind, Namespace, ObjectRef};

        static LINES: Mutex<Vec<serde_json::Value>> = Mutex::new(Vec::new());
        struct Collect;
        impl Log for Collect {
            fn enabled(&self, _: &Metadata<'_>) -> bool {
                true
            }
            fn log(&self, record: &Record<'_>) {
                if record.target().ends_with("logging::tests") {
                    LINES.lock().unwrap().push(json_line(record));
                }
            }
            fn flush(&self) {}
        }
        log::set_logger(&Collect).unwrap();
        log::set_max_level(LevelFilter::Info);
        let object = ObjectRef::new(Kind::Secret, Namespace::parse("prod").unwrap(), "db").unwrap();
        log_object!(log::Level::Info, &object, "{object} is there");
        let object = object.in_cluster(ClusterRef::Named(ClusterId::parse("hub").unwrap()));
        log_object!(log::Level::Info, &object, "{object} is there");
        let lines = LINES.lock().unwrap();
        for (line, cluster) in lines.iter().zip([None, Some("hub")]) {
            assert_eq!([&line["namespace"], &line["kind"], &line["name"]], ["prod", "Secret", "db"]);
            assert_eq!(line.get("cluster").and_then(|id| id.as_str()), cluster);
        }
        assert_eq!(lines.len(), 2);
    }
}
