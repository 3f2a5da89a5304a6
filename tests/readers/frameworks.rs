//! Frameworks that change some values after they have parsed a file: the traps on the pages of the formats, and that all other
//! values arrive unchanged.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{Case, Files, cases, find, outputs, python, reader, render, require, ruby};

/// Names the directory with the libraries of `tests/readers/volume/pom.xml`.
const JARS: &str = "PODCREDS_TEST_JARS";

/// `Frameworks.java`, with its libraries; `java` compiles it.
fn java() -> Option<Command> {
    require("javac", find("javac"))?;
    let jars = env::var_os(JARS).map(PathBuf::from).filter(|jars| jars.is_dir());
    let jars = require(&format!("{JARS} (mvn dependency:copy-dependencies, of tests/readers/volume)"), jars)?;
    let mut command = Command::new("java");
    command.arg("-cp").arg(jars.join("*")).arg(reader("Frameworks.java"));
    Some(command)
}

impl Files {
    /// Writes each value as the field `value` of one case, named after its position.
    fn of(format: &'static str, annotations: &[(&str, &str)], values: &[&str]) -> Self {
        let root = tempfile::Builder::new().prefix("podcreds-formats-").tempdir().unwrap();
        let case = |(index, value): (usize, &&str)| Case {
            name: format!("{index:03}"),
            fields: BTreeMap::from([("value".to_owned(), (*value).to_owned())]),
        };
        let cases: Vec<_> = values.iter().enumerate().map(case).collect();
        for case in &cases {
            let (name, content) = render(annotations, case).unwrap();
            let path = root.path().join(&case.name).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Self { root, format, cases }
    }

    /// What each reader makes of the values, in order; `None` if it fails.
    fn read_as(&self, mut program: Command) -> BTreeMap<String, Vec<Option<String>>> {
        program.arg(self.format).arg(self.root.path());
        let mut read = BTreeMap::<_, Vec<_>>::new();
        // Every program reads the cases in order of name.
        for output in outputs(program) {
            let value = output.fields.get("value");
            let value = value.map(|value| String::from_utf8(value.0.clone()).unwrap());
            read.entry(output.reader).or_default().push(value);
        }
        read
    }
}

/// The fixed values of all formats that are short enough to read one by one, without those that a reader treats as missing.
fn values(keep: impl Fn(&str) -> bool) -> Vec<String> {
    let fixed = cases::values()
        .into_iter()
        .filter(|case| !["random-", "mark-"].iter().any(|prefix| case.name.starts_with(prefix)));
    let values = fixed.flat_map(|case| case.fields.into_values());
    values.filter(|value| !value.is_empty() && value.len() < 1024 && keep(value)).collect()
}

fn texts(values: &[String]) -> Vec<&str> {
    values.iter().map(String::as_str).collect()
}

/// The traps of the pages: values that some framework changes.
const TRAPS: [&str; 7] = ["my$$pw", "a\\$b", "a${x:y}b", "a${x", "${env:PODCREDS_TRAP}", "#{1+1}", " a "];

/// What each reader makes of [`TRAPS`]; `None` if it fails.
fn traps(format: &'static str) -> Vec<(&'static str, [Option<&'static str>; 7])> {
    let [dollars, backslash, default, open, lookup, spel, spaces] = TRAPS.map(Some);
    match format {
        "properties" => vec![
            ("Spring Boot", [dollars, backslash, Some("ayb"), open, Some("PODCREDS_TRAP"), spel, spaces]),
            (
                "SmallRye",
                [Some("my$pw"), Some("a$b"), Some("ayb"), None, Some("PODCREDS_TRAP"), spel, spaces],
            ),
            ("SmallRye without expressions", [dollars, backslash, default, open, lookup, spel, spaces]),
            ("Micronaut", [dollars, backslash, Some("ayb"), None, Some("PODCREDS_TRAP"), spel, spaces]),
            ("commons-configuration2", [dollars, backslash, default, open, Some("trap"), spel, spaces]),
            (
                "commons-configuration2, getProperty",
                [dollars, backslash, default, open, lookup, spel, spaces],
            ),
        ],
        _ => vec![
            ("Spring Boot, bound", [dollars, backslash, default, open, lookup, spel, spaces]),
            (
                "Spring Boot, @Value",
                [dollars, backslash, Some("ayb"), open, Some("PODCREDS_TRAP"), Some("2"), spaces],
            ),
            (
                "SmallRye",
                [Some("my$pw"), Some("a$b"), Some("ayb"), None, Some("PODCREDS_TRAP"), spel, spaces],
            ),
            ("SmallRye without expressions", [dollars, backslash, default, open, lookup, spel, spaces]),
        ],
    }
}

#[test]
fn frameworks_change_the_values_that_the_pages_of_properties_and_files_name() {
    for format in ["properties", "files"] {
        let files = Files::of(format, &[("format", format)], &TRAPS);
        let Some(mut java) = java() else { return };
        java.env("PODCREDS_TRAP", "trap");
        let read = files.read_as(java);
        for (name, expected) in traps(format) {
            assert_eq!(read[name], expected.map(|value| value.map(str::to_owned)), "{format}: {name}");
        }
    }
}

#[test]
fn frameworks_read_all_other_values_of_properties() {
    let files = without_traps("properties", |_| true);
    let Some(java) = java() else { return };
    let readers: Vec<_> = traps("properties").into_iter().map(|(name, _)| name).collect();
    files.read_by(java, &readers);
}

#[test]
fn frameworks_read_all_other_values_of_files_on_one_line() {
    // Spring removes a line break at the end, and SmallRye all of them.
    let files = without_traps("files", |value| !value.contains(['\n', '\r']));
    let Some(java) = java() else { return };
    let readers: Vec<_> = traps("files").into_iter().map(|(name, _)| name).collect();
    files.read_by(java, &readers);
}

fn without_traps(format: &'static str, keep: impl Fn(&str) -> bool) -> Files {
    let is_trap = |value: &str| ["${", "$$", "\\$", "#{"].iter().any(|trap| value.contains(trap));
    let values = values(|value| !is_trap(value) && keep(value));
    Files::of(format, &[("format", format)], &texts(&values))
}

#[test]
fn smallrye_removes_line_breaks_from_files() {
    let files = Files::of("files", &[("format", "files")], &["a\nb\n"]);
    let Some(java) = java() else { return };
    assert_eq!(files.read_as(java)["SmallRye"], [Some("ab".to_owned())]);
}

/// The traps of the pages of `json` and `yaml`.
#[test]
fn dynaconf_acts_on_values_that_begin_with_an_at_sign_unless_it_casts_nothing() {
    for format in ["json", "yaml"] {
        let values = ["@int 42", "@none", "@read_file /etc/hostname", "p@ss", "it's \"1\" \\ $x"];
        let files = Files { format: "dynaconf", ..Files::of(format, &[("format", format)], &values) };
        let unchanged = values.map(|value| Some(value.to_owned()));
        let Some(python) = python("dynaconf") else { return };
        let read = files.read_as(python);
        let cast = &read["dynaconf"];
        assert_eq!(cast[..2], [None, None], "a number and nothing instead of text");
        assert_ne!(cast[2], unchanged[2], "the content of the file");
        assert_eq!(cast[3..], unchanged[3..]);
        assert_eq!(read["dynaconf without casts"], unchanged);
    }
}

/// The traps of the pages of `dotenv` and `env`.
#[test]
fn django_environ_removes_quotes_of_dotenv_and_follows_a_dollar_at_the_start() {
    let files = Files {
        format: "django-environ",
        ..Files::of("dotenv", &[("format", "dotenv")], &["\"a\"", "it's"])
    };
    let Some(python) = python("environ") else { return };
    assert_eq!(files.read_as(python)["django-environ"], ["a", "it's"].map(|value| Some(value.to_owned())));
    let files =
        Files { format: "django-environ", ..Files::of("json", &[("format", "json")], &["$2y$10$a", "a$b"]) };
    let Some(python) = self::python("environ") else { return };
    assert_eq!(files.read_as(python)["django-environ"], [None, Some("a$b".to_owned())]);
}

/// The line for `database.yml` in the page of `yaml`.
#[test]
fn rails_reads_every_password_from_its_file() {
    // YAML has no plain form of these characters, and JSON does not escape them.
    let values = values(|value| {
        !value.contains(|c| matches!(c, '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' | '\u{1fffe}'))
    });
    let files = Files { format: "erb", ..Files::of("files", &[("format", "files")], &texts(&values)) };
    let Some(ruby) = ruby("erb") else { return };
    files.read_by(ruby, &["ERB"]);
}

/// The trap in the pages of `yaml` and `template`.
#[test]
fn erb_runs_a_password_in_a_file_that_it_processes() {
    let template = "value: {{ value | yaml }}";
    let annotations = [("template", template), ("path", "db.yaml")];
    let files = Files::of("yaml", &annotations, &["<%= 6 * 7 %>", "it's \"1\" \\ $x"]);
    let Some(ruby) = ruby("erb") else { return };
    assert_eq!(files.read_as(ruby)["ERB"], ["42", "it's \"1\" \\ $x"].map(|value| Some(value.to_owned())));
}

/// The filters of docs/frameworks.md and of the page of `template`, read by earlier versions than those of `pages.rs`.
#[test]
fn smallrye_and_micronaut_read_every_value_whose_dollars_a_template_escapes() {
    let page =
        [include_str!("../../docs/formats/template.md"), include_str!("../../docs/frameworks.md")].concat();
    let values = values(|_| true);
    let more = ["\\$$", "\\\\$a", "$\\$", "$${a}", "${${a}"];
    let texts: Vec<_> = texts(&values).into_iter().chain(TRAPS).chain(more).collect();
    let unchanged: Vec<_> = texts.iter().map(|text| Some((*text).to_owned())).collect();
    for (reader, filters, mentions) in [
        ("SmallRye", r#"replace("$", "\\$") | properties"#, 3),
        ("Micronaut", r#"replace("${", "${podcreds.dollar:$}{") | properties"#, 2),
    ] {
        assert_eq!(page.matches(filters).count(), mentions, "{reader}");
        let template = format!("value={{{{ value | {filters} }}}}");
        let annotations = [("template", template.as_str()), ("path", "db.properties")];
        let files = Files::of("properties", &annotations, &texts);
        let Some(java) = java() else { return };
        assert_eq!(files.read_as(java)[reader], unchanged, "{reader}");
    }
}
