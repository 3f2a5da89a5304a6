//! The output formats of `check`, each a function from the report to text.

use serde_json::json;

use crate::check::{Finding, Level, Report};
use crate::text::one_line;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// As compilers report.
    #[default]
    Text,
    /// For programs.
    Json,
    /// Workflow commands, which GitHub shows beside the lines of a pull request.
    Github,
}

impl Format {
    pub(crate) fn render(self, report: &Report<'_>) -> String {
        match self {
            Self::Text => text(report),
            Self::Json => json(report),
            Self::Github => report.findings.iter().map(github).collect(),
        }
    }
}

fn text(report: &Report<'_>) -> String {
    let mut out = String::new();
    for Finding { rule, level, place, object, message, remedy } in &report.findings {
        let place = place.map(|place| format!("{place}: ")).unwrap_or_default();
        let line = format!("{place}{}: {object}: {message} [{}]", level.name(), rule.id);
        // Text of a manifest must not begin a line: GitHub executes those that begin with `::`.
        out.push_str(&format!("{}\n", one_line(&line, usize::MAX)));
        if !remedy.is_empty() {
            out.push_str(&format!("    {}\n", one_line(remedy, usize::MAX)));
        }
    }
    out.push_str(&summary(report));
    out
}

fn summary(report: &Report<'_>) -> String {
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let pods = counted(report.templates, "pod template");
    let found = match (report.count(Level::Error), report.count(Level::Warning)) {
        (0, 0) => "no problems".to_owned(),
        (0, warnings) => counted(warnings, "warning"),
        (errors, 0) => counted(errors, "error"),
        (errors, warnings) => format!("{} and {}", counted(errors, "error"), counted(warnings, "warning")),
    };
    let nothing = match report.uses {
        0 => "    no pod template has podcreds' annotations or container, so there was nothing to check\n",
        _ => "",
    };
    format!("{found}; {pods}, {} with podcreds\n{nothing}", report.uses)
}

fn json(report: &Report<'_>) -> String {
    let one = |finding: &Finding<'_>| {
        let place = finding.place;
        json!({
            "file": place.map(|place| place.file),
            "line": place.map(|place| place.at.line),
            "column": place.map(|place| place.at.column),
            "object": finding.object,
            "level": finding.level.name(),
            "id": finding.rule.id,
            "message": finding.message,
            "remedy": finding.remedy,
        })
    };
    let all = serde_json::Value::Array(report.findings.iter().map(one).collect());
    format!("{all:#}\n")
}

/// Source: <https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions>
fn github(finding: &Finding<'_>) -> String {
    let escaped = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| escaped(text).replace(':', "%3A").replace(',', "%2C");
    let place = finding.place.map(|place| {
        let at = place.at;
        format!("file={},line={},col={},", property(place.file), at.line, at.column)
    });
    let text = match finding.remedy.as_str() {
        "" => finding.message.clone(),
        remedy => format!("{}; {remedy}", finding.message),
    };
    let text = escaped(&format!("{}: {text}", finding.object));
    format!("::{} {}title={}::{text}\n", finding.level.name(), place.unwrap_or_default(), finding.rule.id)
}
