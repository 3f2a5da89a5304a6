//! Values that are difficult for some format, and random values.

use std::collections::BTreeMap;

use fastrand::Rng;

/// The number of random cases.
const RANDOM: usize = 300;
/// A fixed seed, so that a failure can be reproduced.
const SEED: u64 = 0x706f_6463_7265_6473;
/// With `VALUE=` and NUL, a value of this size fills the 128 KiB that Linux allows for one variable; `read.sh` has the same number.
const LARGEST_EXPORTED: usize = 131_065;
/// The largest size of a Secret.
const LARGE: usize = 1024 * 1024;

/// Fields that are rendered to one file.
#[derive(Clone)]
pub(crate) struct Case {
    /// A name without characters that need escaping in a file name or a JSON string.
    pub(crate) name: String,
    /// The values by field.
    pub(crate) fields: BTreeMap<String, String>,
}

/// Values by case name, for every format.
const VALUES: &[(&str, &str)] = &[
    ("empty", ""),
    ("one-letter", "a"),
    ("a-space", " "),
    ("spaces-at-both-ends", "  a b  "),
    ("spaces-alone", "   "),
    ("tabs-at-both-ends", "\ta\tb\t"),
    ("form-feed", "\u{c}a\u{c}b\u{c}"),
    ("vertical-tab", "\u{b}a\u{b}b\u{b}"),
    ("no-break-space-at-both-ends", "\u{a0}a\u{a0}"),
    ("wide-space-at-both-ends", "\u{3000}a\u{3000}"),
    ("punctuation", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    ("punctuation-without-quotes", "!#$%&()*+,-./:;<=>?@[]^_`{|}~"),
    ("single-quotes", "'a''b'"),
    ("single-quote-in-a-word", "it's"),
    ("double-quotes", "\"a\"\"b\""),
    ("backquotes", "`a``b`"),
    ("all-quotes", "'\"`\"'`'"),
    ("in-single-quotes", "'a'"),
    ("in-double-quotes", "\"a\""),
    ("opening-quote", "\"a"),
    ("closing-quote", "a'"),
    ("quote-at-the-end-of-a-line", "a\"\nb=\"c"),
    ("backslash-between", "a\\b"),
    ("backslash-at-the-end", "a\\"),
    ("backslashes", "\\\\\\"),
    ("backslash-before-quotes", "\\'\\\"\\`"),
    ("backslash-before-dollar", "\\$HOME"),
    ("backslash-before-newline", "a\\\nb"),
    ("backslash-before-letters", r"\a\b\c\e\f\n\r\t\v\0\x41\u0041\U00000041\101"),
    ("command-in-parentheses", "$(touch made)"),
    ("command-in-backquotes", "`touch made`"),
    ("command-after-a-quote", "';touch made;'"),
    ("command-after-a-double-quote", "\";touch made;\""),
    ("command-on-a-line-of-its-own", "a\ntouch made\n"),
    ("dollar-brace", "${HOME}"),
    ("dollar-name", "$HOME"),
    ("dollar-brace-with-default", "${NOTHING:-x}"),
    ("dollar-brace-unclosed", "${HOME"),
    ("dollar-number", "$1 $$ $? $# $@ $*"),
    ("dollar-single-quote", "$'a\\n'"),
    ("dollar-at-the-end", "a$"),
    ("percent", "%HOME% %s %d %% %n"),
    ("braces", "{{ HOME }} {% x %} #{x} @{x} [[x]]"),
    ("globs", "* ? [a-z] ~ ~root {a,b}"),
    ("history", "!! !$ !a"),
    ("comment", "# a"),
    ("comment-after-a-space", "a # b"),
    ("comment-without-a-space", "a#b"),
    ("comment-after-a-quote", "' # b"),
    ("exclamation-mark-first", "! a"),
    ("equals-first", "=a"),
    ("colon-first", ":a"),
    ("assignment", "OTHER=x"),
    ("export", "export OTHER=x"),
    ("assignment-on-a-line-of-its-own", "a\nOTHER=x\nexport THIRD='y'"),
    ("minus-first", "-n a"),
    ("minus-e", "-e \\n"),
    ("minus-minus", "--"),
    ("yaml-yes", "yes"),
    ("yaml-no", "no"),
    ("yaml-tilde", "~"),
    ("yaml-null", "null"),
    ("yaml-true", "True"),
    ("yaml-float", "1e3"),
    ("yaml-hexadecimal", "0x1f"),
    ("yaml-octal", "0o17"),
    ("yaml-leading-zero", "017"),
    ("yaml-sexagesimal", "12:30:45"),
    ("yaml-date", "2024-01-01"),
    ("yaml-infinity", ".inf"),
    ("yaml-merge", "<<"),
    ("yaml-sequence", "- a\n- b"),
    ("yaml-mapping", "a: b\n? c\n: d"),
    ("yaml-anchor", "&a *a !a !!str a"),
    ("yaml-documents", "--- a\n...\n---\n%YAML 1.1"),
    ("yaml-block", "|\n  a\n >-\n b"),
    ("json", "{\"a\": [1, \"\\u0041\"]}"),
    ("url", "postgres://app:p%40ss@db.prod:5432/app?sslmode=verify-full&x=%20#y"),
    ("newline", "\n"),
    ("newline-at-the-end", "a\n"),
    ("newlines-at-the-end", "a\n\n\n"),
    ("newlines-first", "\n\na"),
    ("newlines-between", "a\n\n b \n\tc"),
    ("carriage-return", "\r"),
    ("carriage-return-between", "a\rb"),
    ("windows-lines", "a\r\nb\r\n"),
    ("accents", "Zürich, déjà vu, ñandú"),
    ("combining", "e\u{301} a\u{308}"),
    ("greek-and-chinese", "κωδικός 密碼 パスワード"),
    ("right-to-left", "\u{200f}סיסמה \u{202e}كلمة"),
    ("emoji", "😀 👩‍👩‍👧 🇨🇭"),
    ("beyond-the-basic-plane", "\u{10000}\u{1f600}\u{10ffff}"),
    ("last-bytes-like-ascii-marks", "\u{127}\u{122}\u{15c}\u{124}"),
    ("next-line", "a\u{85}b\u{85}"),
    ("line-separator", "a\u{2028}b\u{2028}"),
    ("paragraph-separator", "a\u{2029}b\u{2029}"),
    ("quote-and-line-separator", "a\"\u{2028}b\""),
    ("single-quote-and-line-separator", "a'\u{2028}b'"),
    ("byte-order-mark", "\u{feff}a\u{feff}"),
    ("controls", "\u{1}\u{2}\u{7}\u{8}\u{e}\u{1b}[31m\u{1f}\u{7f}"),
    ("c1-controls", "\u{80}\u{84}\u{86}\u{9b}\u{9f}"),
    ("no-characters", "\u{fffe}\u{ffff}\u{fdd0}\u{1fffe}"),
    ("beside-the-surrogates", "\u{d7ff}\u{e000}\u{fffd}"),
    ("soft-hyphen-and-joiners", "\u{ad}\u{200b}\u{200d}\u{2060}"),
    ("private-use", "\u{e000}\u{f8ff}\u{f0000}"),
    ("pem", "-----BEGIN KEY-----\nMC4CAQAwBQYDK2VwBCIEI+/=\n-----END KEY-----\n"),
];

/// Valid keys of Secrets that YAML, JavaScript or Java could treat as something other than a string.
const ODD_NAMES: &[&str] = &[
    "-",
    "--",
    "---",
    "-.",
    "-a",
    "-1",
    "_",
    "__proto__",
    "constructor",
    "toString",
    ".dockerconfigjson",
    ".a",
    ".inf",
    ".NaN",
    ".5",
    "5.",
    "0",
    "007",
    "0b1",
    "0o7",
    "0x1f",
    "123",
    "1_000",
    "1e3",
    "1.5",
    "2024-01-01",
    "N",
    "NO",
    "No",
    "Null",
    "OFF",
    "On",
    "True",
    "Y",
    "Yes",
    "a",
    "a.b",
    "a-b",
    "a_b",
    "false",
    "n",
    "no",
    "null",
    "off",
    "on",
    "tls.crt",
    "true",
    "y",
    "yes",
    "e3",
    "NaN",
    "inf",
];

/// Variable names for the fields of a database. `USERNAME` is missing because podcreds sets it only if `.keys` names it.
const VARIABLES: &[&str] = &[
    "username",
    "password",
    "host",
    "port",
    "database",
    "uri",
    "type",
    "USER",
    "PASSWORD",
    "HOST",
    "PORT",
    "DATABASE",
    "DATABASE_URL",
    "PGPASSWORD",
    "MYSQL_PWD",
    "DB_USER",
    "_A",
    "a1",
];

/// The characters of random values.
const ALPHABETS: [&str; 3] = [
    "'\"\\`$`{}()#=:!%&*-~, \t\n\r;|<>?[]^/@+._aénx0\u{85}\u{a0}\u{2028}\u{feff}\u{7f}😀",
    "ab'\\ $\n#\u{2029}\u{85}",
    "abcXYZ019 \t\n!\"#$%&()*+,-./:;<=>?@[]^_`{|}~é😀\u{2028}\u{b}\u{c}",
];

/// Every case with one value, fixed and random.
pub(crate) fn values() -> Vec<Case> {
    let mut cases: Vec<_> = VALUES.iter().map(|(name, value)| Case::new(name, value)).collect();
    for mark in (' '..='~').filter(char::is_ascii_punctuation) {
        let code = u32::from(mark);
        cases.push(Case::new(&format!("mark-{code:x}"), &mark.to_string()));
        cases.push(Case::new(&format!("mark-{code:x}-twice"), &format!("{mark}{mark}")));
        cases.push(Case::new(&format!("mark-{code:x}-around"), &format!("{mark} a {mark}")));
        cases.push(Case::new(&format!("mark-{code:x}-between"), &format!("a{mark}b")));
    }
    cases.push(Case::new("two-hundred-letters", &"abcdefghij".repeat(20)));
    cases.push(Case::new("two-hundred-marks", &"a b#$c: ".repeat(25)));
    cases.push(Case::new("largest-of-an-environment", &"e".repeat(LARGEST_EXPORTED)));
    cases.push(Case::new("large", &lines("0123456789 # $x: é 😀 \"y\"\n")));
    cases.push(Case::new("large-with-quotes", &lines("it's \"1\" \\ ${x} `y` é 😀\n")));
    cases.push(Case::new("large-line", &lines("0123456789abcdef")));
    let mut rng = Rng::with_seed(SEED);
    cases.extend((0..RANDOM).map(|index| Case::new(&format!("random-{index:03}"), &random(&mut rng, index))));
    cases
}

/// A case with NUL, which only some formats support.
pub(crate) fn nul() -> Case {
    Case::new("nul", "a\0b\0")
}

/// A case with unusual field names, for formats without variables.
pub(crate) fn odd_names() -> Case {
    Case::named("odd-names", ODD_NAMES)
}

/// A case with the usual variable names for a database.
pub(crate) fn variables() -> Case {
    Case::named("variables", VARIABLES)
}

impl Case {
    fn new(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), fields: BTreeMap::from([("VALUE".to_owned(), value.to_owned())]) }
    }

    fn named(name: &str, fields: &[&str]) -> Self {
        let fields = fields.iter().map(|field| ((*field).to_owned(), format!("value of {field}"))).collect();
        Self { name: name.to_owned(), fields }
    }
}

/// Repeats the text up to the largest size of a value.
fn lines(text: &str) -> String {
    text.repeat(LARGE / text.len())
}

fn random(rng: &mut Rng, index: usize) -> String {
    let length = rng.usize(0..60);
    match ALPHABETS.get(index % (ALPHABETS.len() + 1)) {
        Some(alphabet) => {
            let letters: Vec<_> = alphabet.chars().collect();
            (0..length).filter_map(|_| rng.choice(&letters)).collect()
        }
        None => (0..length).map(|_| rng.char('\u{1}'..)).collect(),
    }
}
