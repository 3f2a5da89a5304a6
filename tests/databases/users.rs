//! The users on every server, with names and passwords that are difficult to escape.

/// A user who can log in.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: String,
    /// The user's database, on servers with named databases.
    pub(crate) database: String,
}

/// The least number of passwords, in case an edit removes too many.
const AT_LEAST: usize = 90;
/// The longest password in a connection service file: libpq requires lines shorter than 1022 bytes, with `password=`.
pub(crate) const SERVICE_FILE: usize = 1021 - 9;
/// The longest password in an option file: clients read lines of 4094 bytes, with `password=` and the quotes.
pub(crate) const OPTION_FILE: usize = 4094 - 11;
/// The database of the users with difficult passwords.
pub(crate) const DATABASE: &str = "orders";
/// All ASCII punctuation characters.
const MARKS: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

const PASSWORDS: [&str; 57] = [
    "a",
    " ",
    MARKS,
    "~}|{`_^]\\[@?>=<;:/.-,+*)('&%$#\"!",
    " a",
    "a ",
    "  a b  ",
    "\ta\t",
    "'",
    "''",
    "it's",
    "'a'",
    "\"\"",
    "\"a\"",
    "\"a",
    "a'",
    "`a`",
    "'\"`\"'`'",
    "a\\b",
    "a\\",
    "\\\\",
    "\\\\\\",
    "\\'",
    "\\\"",
    "\\n\\t\\s\\b\\0\\x41",
    "%",
    "%%",
    "%41",
    "100%",
    "%zz",
    "%2",
    "a+b c",
    "a@b@c",
    "a:b:c",
    "a/b//c",
    "a#b",
    "a # b",
    "# a",
    "; a",
    "[client]",
    "a=b",
    "a&b=c",
    "a?b",
    "?a&password=b",
    "$(touch made)",
    "`touch made`",
    "${HOME} $HOME $1 $$",
    "a,b;c",
    "{a}}b{",
    "postgresql://a:b@c:1/d?e=f#g",
    "host=a port='b'",
    "a:b:*:d:\\e",
    "é",
    "Zürich déjà-vu",
    "密碼 パスワード κωδικός",
    "😀🔑",
    "\u{a0}a\u{a0}",
];

/// Passwords with line breaks.
const LINES: [&str; 6] = ["a\nb", "a\n", "\na", "a\rb", "a\r\nb", "\n"];

/// Users with difficult passwords: every single ASCII punctuation character, and the passwords above.
pub(crate) fn with_difficult_passwords() -> Vec<User> {
    let marks = MARKS.chars().map(String::from);
    let long = [
        "abcdefghij".repeat(20),
        "é#$'\"\\: ".repeat(25),
        // The longest password in a service file, and one byte more; the same for an option file.
        "s".repeat(SERVICE_FILE),
        "s".repeat(SERVICE_FILE + 1),
        "o".repeat(OPTION_FILE),
        "o".repeat(OPTION_FILE + 1),
        "\\\"'".repeat(600),
    ];
    let passwords: Vec<_> =
        PASSWORDS.into_iter().chain(LINES).map(str::to_owned).chain(marks).chain(long).collect();
    assert!(passwords.len() >= AT_LEAST, "only {} passwords", passwords.len());
    let user =
        |(index, password)| User { name: format!("u{index}"), password, database: DATABASE.to_owned() };
    passwords.into_iter().enumerate().map(user).collect()
}

/// Users whose names and databases are difficult too. Each consists of a text and a number, so that all are different.
pub(crate) fn with_difficult_names() -> Vec<User> {
    let texts =
        [" a ", "it's", "\"a\"", "a\\b", "a@b", "a:b/c", "100%41", "#a b", "a+b=c", "é密", "?a;b", "$(a)`b`"];
    let user = |(index, text)| User {
        name: format!("{text}{index}"),
        password: format!("{text}-password"),
        database: format!("{index}{text}."),
    };
    texts.into_iter().enumerate().map(user).collect()
}
