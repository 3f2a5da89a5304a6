//! Log records to the standard error: as text for people or as JSON lines.
//!
//! Only podcreds' own records are written, whatever RUST_LOG asks for: what its libraries say of a connection is theirs,
//! and may hold a header or a body.

use std::io::Write;
use std::time::SystemTime;

use env_logger::{Builder, Logger, Target};
use humantime::format_rfc3339_millis;
use log::{LevelFilter, Log, Metadata, Record};

use crate::cli::args::LogFormat;

/// Starts the logger. `level` wins over `rust_log`, which is in env_logger's form.
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
            let time = format_rfc3339_millis(SystemTime::now());
            writeln!(out, "{time} {:<5} {}", record.level(), record.args())
        }),
        LogFormat::Json => builder.format(|out, record| {
            let line = serde_json::json!({
                "time": format_rfc3339_millis(SystemTime::now()).to_string(),
                "level": record.level().as_str().to_ascii_lowercase(),
                "message": record.args().to_string(),
            });
            writeln!(out, "{line}")
        }),
    };
    let logger = builder.build();
    let most = logger.filter();
    // A second logger is refused, which only a test that runs twice would notice.
    if log::set_boxed_logger(Box::new(OwnRecords(logger))).is_ok() {
        log::set_max_level(most);
    }
}

/// Whether a filter says anything of podcreds, by its name or for all. RUST_LOG may be set for the application, and is
/// then often shared by all containers of a pod.
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
    fn only_filters_for_all_or_for_us_are_obeyed() {
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
}
