//! Holds the links of the documentation: each points to a file and a heading that exist, in the repository and in the
//! book that mdBook builds from `docs/`. Links to other sites are not followed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/skip.rs"]
mod skip;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// The address of the repository's files, which the book links to.
const REPOSITORY: &str = "https://github.com/podcreds/podcreds/";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `directory` with this ending.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !["target", ".git", "node_modules"].contains(&name) {
                    directories.push(path);
                }
            } else if name.ends_with(ending) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// A Markdown page: the anchors of its headings, and its links with their line numbers.
#[derive(Default)]
struct Page {
    anchors: BTreeSet<String>,
    links: Vec<(usize, String)>,
}

/// The line without its code spans, in which brackets are not links.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// GitHub's and mdBook's anchor of a heading: lower case, `-` for spaces, no punctuation.
fn anchor(heading: &str) -> String {
    let heading = heading.trim().to_lowercase();
    heading
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            _ => c.is_alphanumeric().then_some(c),
        })
        .collect()
}

fn parse(text: &str) -> Page {
    let mut page = Page::default();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        let heading = line.trim_start_matches('#');
        if heading.len() < line.len() && heading.starts_with(' ') {
            let anchor = anchor(heading);
            let repeated = (1..).map(|number| format!("{anchor}-{number}"));
            let mut candidates = std::iter::once(anchor.clone()).chain(repeated);
            page.anchors.insert(candidates.find(|anchor| !page.anchors.contains(anchor)).unwrap());
        }
        for rest in without_code(line).split("](").skip(1) {
            let link = rest.split([')', ' ']).next().unwrap();
            page.links.push((index + 1, link.to_owned()));
        }
    }
    page
}

/// The path with `.` and `..` resolved, without following symbolic links.
fn normalized(path: &Path) -> PathBuf {
    let mut normalized = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => _ = normalized.pop(),
            Component::CurDir => {}
            other => normalized.push(other),
        }
    }
    normalized
}

/// Why this link of the page at `path` is broken; `None` means that it works.
fn broken(path: &Path, link: &str, pages: &BTreeMap<PathBuf, Page>) -> Option<String> {
    let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if let Some(rest) = target.strip_prefix(REPOSITORY) {
        let in_repository = rest.strip_prefix("blob/main/").or_else(|| rest.strip_prefix("tree/main/"));
        root().join(in_repository?)
    } else if target.contains("://") || target.starts_with("mailto:") {
        return None;
    } else if target.is_empty() {
        path.to_owned()
    } else {
        normalized(&path.parent().unwrap().join(target))
    };
    if !target.exists() {
        return Some("no such file".to_owned());
    }
    if target.is_dir() && !link.ends_with('/') {
        return Some("a link to a directory ends with /".to_owned());
    }
    let anchors = pages.get(&target).map(|page| &page.anchors);
    (!anchor.is_empty() && !anchors.is_some_and(|anchors| anchors.contains(anchor)))
        .then(|| "no such heading".to_owned())
}

#[test]
fn every_link_of_a_page_points_to_a_file_and_heading_that_exist() {
    let pages: BTreeMap<_, _> = files(root(), ".md")
        .into_iter()
        .map(|path| (path.clone(), parse(&fs::read_to_string(path).unwrap())))
        .collect();
    let mut report = String::new();
    let mut count = 0;
    for (path, page) in &pages {
        let name = path.strip_prefix(root()).unwrap().display();
        for (line, link) in &page.links {
            count += 1;
            if let Some(reason) = broken(path, link, &pages) {
                writeln!(report, "{name}:{line}: {link}: {reason}").unwrap();
            }
        }
    }
    assert!(count > 500, "{count} links");
    assert!(report.is_empty(), "{} broken links:\n{report}", report.lines().count());
}

#[test]
fn links_and_headings_are_found() {
    let page = parse(
        "# A `podcreds exec -- CMD`\n## A [link](x.md#y)\n## Twice\n## Twice\n`[no](link)` [b](<>) [c](d/ \"t\")\n\
         ```sh\n# no heading\n[no](link)\n```\n",
    );
    let anchors: Vec<_> = page.anchors.iter().map(String::as_str).collect();
    assert_eq!(anchors, ["a-linkxmdy", "a-podcreds-exec----cmd", "twice", "twice-1"]);
    assert_eq!(page.links, [(2, "x.md#y".to_owned()), (5, "<>".to_owned()), (5, "d/".to_owned())]);
}

#[test]
fn a_broken_link_is_reported() {
    let path = root().join("docs/README.md");
    let pages = BTreeMap::from([(path.clone(), parse("# Title\n"))]);
    let broken = |link: &str| broken(&path, link, &pages);
    for works in ["#title", "README.md#title", "../deploy/", "https://example.com/x", "../Cargo.toml"] {
        assert_eq!(broken(works), None, "{works}");
    }
    assert_eq!(broken(&format!("{REPOSITORY}blob/main/Cargo.toml")), None);
    assert_eq!(broken(&format!("{REPOSITORY}issues")), None);
    for wrong in ["#other", "other.md", "../deploy", "README.md#other", "../Cargo.toml#x"] {
        assert!(broken(wrong).is_some(), "{wrong}");
    }
    assert!(broken(&format!("{REPOSITORY}blob/main/other")).is_some());
}

#[test]
fn the_summary_lists_every_page_of_the_book() {
    let docs = root().join("docs");
    let summary = parse(&fs::read_to_string(docs.join("SUMMARY.md")).unwrap());
    let listed: BTreeSet<_> = summary.links.into_iter().map(|(_, link)| docs.join(link)).collect();
    let pages: BTreeSet<_> =
        files(&docs, ".md").into_iter().filter(|path| !path.ends_with("SUMMARY.md")).collect();
    let missing: Vec<_> = pages.difference(&listed).collect();
    assert!(missing.is_empty(), "missing in docs/SUMMARY.md: {missing:?}");
}

/// The values of this attribute in the HTML that mdBook writes.
fn attributes<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!(" {name}=\"");
    html.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

#[test]
fn every_link_of_the_book_points_to_a_page_and_heading_that_exist() {
    let mdbook = env::var("PODCREDS_TEST_MDBOOK").unwrap_or_else(|_| "mdbook".to_owned());
    let found = Command::new(&mdbook).arg("--version").output().is_ok();
    let Some(()) = skip::require("mdbook", found.then_some(())) else { return };
    let book = tempfile::tempdir().unwrap();
    let output =
        Command::new(mdbook).args(["build", "--dest-dir"]).arg(book.path()).arg(root()).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !log.contains("WARN"), "{log}");

    let pages: BTreeMap<_, _> = files(book.path(), ".html")
        .into_iter()
        // One page with the whole book, and the page of a server for addresses that do not exist.
        .filter(|path| !path.ends_with("print.html") && !path.ends_with("404.html"))
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect();
    assert!(pages.len() > 50, "{} pages", pages.len());
    let mut report = String::new();
    for (path, html) in &pages {
        for link in attributes(html, "href") {
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let mut file = if target.is_empty() {
                path.clone()
            } else {
                normalized(&path.parent().unwrap().join(target))
            };
            if file.is_dir() {
                file.push("index.html");
            }
            let exists = match pages.get(&file) {
                Some(html) => anchor.is_empty() || attributes(html, "id").contains(&anchor),
                None => file.starts_with(book.path()) && file.exists(),
            };
            if !exists {
                let page = path.strip_prefix(book.path()).unwrap().display();
                writeln!(report, "{page}: {link}").unwrap();
            }
        }
    }
    assert!(report.is_empty(), "{} broken links:\n{report}", report.lines().count());
}
