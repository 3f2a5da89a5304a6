//! What a credential is written as: one variant of [`Output`] for each kind of file, with the settings that this kind has.

use std::fmt;

use crate::credential::TemplateSource;
use crate::credential::engine::Engine;
use crate::credential::names::{CredentialName, FieldName};
use crate::text::Excerpt;

/// The output of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// A directory with one file per field, byte for byte.
    Files,
    /// A file that sets one environment variable per field.
    Env(EnvFileFormat),
    /// An `env` file with the variables that vault-db-injector would set.
    InjectorEnv(InjectorEnv),
    /// A document with one entry per field.
    Document(DocumentFormat),
    /// A connection string, either as the whole content of the file or as the value of environment variables.
    ConnectionString {
        format: ConnectionStringFormat,
        /// `None` means that the fields name the engine.
        engine: Option<Engine>,
        /// `None` means a file with the connection string alone.
        env_export: Option<EnvExport>,
    },
    /// A configuration file of a database client.
    ClientFile {
        format: ClientFileFormat,
        /// `None` means that the fields name the engine.
        engine: Option<Engine>,
    },
    /// A directory with a key store, a trust store and their password.
    Pkcs12,
    /// A file rendered from a template.
    Template(TemplateSource),
}

/// Formats of files that set environment variables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum EnvFileFormat {
    /// `export NAME='value'` lines for a POSIX shell.
    #[default]
    Env,
    /// `NAME='value'` lines for dotenv libraries.
    Dotenv,
    /// `NAME='value'` lines for the kubelet (`fileKeyRef`).
    Envfile,
}

/// Formats with one entry per field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DocumentFormat {
    Json,
    Yaml,
    Properties,
}

/// Formats that are a single value without a line break at its end, so that an environment variable can hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionStringFormat {
    Uri,
    Jdbc,
    Libpq,
}

/// Configuration files of database clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientFileFormat {
    Pgpass,
    Pgservice,
    Mycnf,
}

/// The environment variables that a connection string is assigned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvExport {
    /// At least one name.
    pub(crate) names: Vec<FieldName>,
    pub(crate) file: EnvFileFormat,
}

impl Output {
    /// The format as `.format` spells it, which is also that of a connection string in an environment variable.
    pub(crate) fn format(&self) -> Format {
        match self {
            Self::Files => Format::Files,
            Self::Env(file) => file.format(),
            Self::InjectorEnv(_) => Format::Env,
            Self::Document(DocumentFormat::Json) => Format::Json,
            Self::Document(DocumentFormat::Yaml) => Format::Yaml,
            Self::Document(DocumentFormat::Properties) => Format::Properties,
            Self::ConnectionString { format, .. } => match format {
                ConnectionStringFormat::Uri => Format::Uri,
                ConnectionStringFormat::Jdbc => Format::Jdbc,
                ConnectionStringFormat::Libpq => Format::Libpq,
            },
            Self::ClientFile { format, .. } => match format {
                ClientFileFormat::Pgpass => Format::Pgpass,
                ClientFileFormat::Pgservice => Format::Pgservice,
                ClientFileFormat::Mycnf => Format::Mycnf,
            },
            Self::Pkcs12 => Format::Pkcs12,
            Self::Template(_) => Format::Template,
        }
    }

    /// The format of the file if it sets environment variables.
    pub(crate) fn env_file(&self) -> Option<EnvFileFormat> {
        match self {
            Self::Env(file) => Some(*file),
            Self::InjectorEnv(_) => Some(EnvFileFormat::Env),
            Self::ConnectionString { env_export: Some(export), .. } => Some(export.file),
            _ => None,
        }
    }

    /// The template, unless the output has another format.
    pub(crate) fn template(&self) -> Option<&TemplateSource> {
        match self {
            Self::Template(source) => Some(source),
            _ => None,
        }
    }
}

impl EnvFileFormat {
    pub(crate) const ALL: [Self; 3] = [Self::Env, Self::Dotenv, Self::Envfile];

    pub(crate) fn format(self) -> Format {
        match self {
            Self::Env => Format::Env,
            Self::Dotenv => Format::Dotenv,
            Self::Envfile => Format::Envfile,
        }
    }
}

/// A value of `.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A directory with one file per field, byte for byte.
    Files,
    /// `export NAME='value'` lines for a POSIX shell.
    Env,
    /// `NAME='value'` lines for dotenv libraries.
    Dotenv,
    /// `NAME='value'` lines for the kubelet (`fileKeyRef`).
    Envfile,
    /// A JSON object of strings.
    Json,
    /// A YAML mapping of strings.
    Yaml,
    /// A Java properties file.
    Properties,
    /// A URI that contains the password.
    Uri,
    /// A JDBC URL that contains the password.
    Jdbc,
    /// A keyword/value connection string of libpq.
    Libpq,
    /// A password file of libpq.
    Pgpass,
    /// A connection service file of libpq.
    Pgservice,
    /// An option file of MySQL and MariaDB.
    Mycnf,
    /// A directory with a key store, a trust store and their password.
    Pkcs12,
    /// A file rendered from a template.
    Template,
}

impl Format {
    /// Every format with its spelling in `.format`.
    pub const ALL: [(&'static str, Self); 15] = [
        ("files", Self::Files),
        ("env", Self::Env),
        ("dotenv", Self::Dotenv),
        ("envfile", Self::Envfile),
        ("json", Self::Json),
        ("yaml", Self::Yaml),
        ("properties", Self::Properties),
        ("uri", Self::Uri),
        ("jdbc", Self::Jdbc),
        ("libpq", Self::Libpq),
        ("pgpass", Self::Pgpass),
        ("pgservice", Self::Pgservice),
        ("mycnf", Self::Mycnf),
        ("pkcs12", Self::Pkcs12),
        ("template", Self::Template),
    ];

    /// Whether the output is a single value without a line break at its end, so that an environment variable can hold it.
    pub(crate) fn is_single_value(self) -> bool {
        matches!(self, Self::Uri | Self::Jdbc | Self::Libpq)
    }

    /// The spelling in `.format`.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }

    /// Whether the output is a directory.
    pub(crate) fn is_directory(self) -> bool {
        matches!(self, Self::Files | Self::Pkcs12)
    }

    /// Whether several credentials may add their entries to the same file.
    pub(crate) fn is_mergeable(self) -> bool {
        matches!(self, Self::Pgpass | Self::Pgservice)
    }

    /// The mode that readers of this format require; `None` means the volume's default.
    pub(crate) fn default_mode(self) -> Option<FileMode> {
        match self {
            Self::Pgpass => Some(FileMode::OWNER),
            _ => None,
        }
    }

    /// The path of a credential without `.path`.
    pub(crate) fn default_path(self, name: &CredentialName) -> String {
        let extension = match self {
            Self::Files | Self::Pkcs12 => "",
            Self::Env | Self::Dotenv => ".env",
            // Not `.env`: `podcreds exec` reads every file with that extension.
            Self::Envfile => ".envfile",
            Self::Json => ".json",
            Self::Yaml => ".yaml",
            Self::Properties => ".properties",
            Self::Uri => ".uri",
            Self::Jdbc => ".jdbc",
            Self::Libpq => ".libpq",
            Self::Pgpass => ".pgpass",
            Self::Pgservice => ".pgservice",
            Self::Mycnf => ".cnf",
            Self::Template => ".txt",
        };
        format!("{name}{extension}")
    }
}

/// The permission bits of a file, from `0400` to `0777`: the owner can always read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(u32);

impl FileMode {
    /// Readable by everyone: the default for a volume without a group of its own.
    pub(crate) const WORLD: Self = Self(0o444);
    /// Readable by the volume's group: the default if the pod sets `fsGroup`.
    pub(crate) const GROUP: Self = Self(0o440);
    /// Readable by the owner only. libpq ignores a password file with wider permissions.
    pub(crate) const OWNER: Self = Self(0o600);

    /// Parses octal digits, with or without leading zeros or `0o`.
    pub(crate) fn parse(text: &str) -> Result<Self, ModeError> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let bits = (digits.len() <= 4 && digits.bytes().all(|b| matches!(b, b'0'..=b'7')))
            .then(|| u32::from_str_radix(digits, 8).ok())
            .flatten()
            .filter(|bits| *bits <= 0o777)
            .ok_or_else(|| ModeError::NotOctal(Excerpt::new(text)))?;
        // podcreds reads its own files to find out whether they are current.
        if bits & 0o400 == 0 { Err(ModeError::Unreadable(bits)) } else { Ok(Self(bits)) }
    }

    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// The bits of a directory that contains such a file: `x` wherever the file has `r`. The owner always has full access.
    pub(crate) fn directory_bits(self) -> u32 {
        let read = self.0 & 0o444;
        read | (read >> 2) | 0o700
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// An invalid file mode.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ModeError {
    #[error("invalid file mode {_0}: use octal digits from 0400 to 0777, for example \"0440\"")]
    NotOctal(Excerpt),
    #[error("file mode {_0:04o} does not let the owner read the file: add 0400")]
    Unreadable(u32),
}

/// The content of an `env` file that follows the annotations of vault-db-injector: environment variables as that tool sets them.
/// Source: <https://github.com/numberly/vault-db-injector>, `pkg/k8smutator/k8smutator.go`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InjectorEnv {
    /// `.mode: classic`: variables for the user name and for the password.
    Classic {
        /// At least one name.
        user: Vec<FieldName>,
        /// At least one name.
        password: Vec<FieldName>,
    },
    /// `.mode: uri`: variables for a URI that contains user name and password.
    Uri {
        /// At least one name.
        names: Vec<FieldName>,
        uri: UriTemplate,
    },
}

/// A URI into which the user name and the password are inserted, replacing any user info that it already has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UriTemplate {
    /// Up to and including `//`.
    scheme: String,
    /// Everything from the host on.
    rest: String,
}

impl UriTemplate {
    /// Parses `scheme://[user[:password]@]host…`. Placeholders are allowed for user and password only.
    pub(crate) fn parse(text: &str) -> Result<Self, UriTemplateError> {
        let error = || UriTemplateError(Excerpt::new(text));
        let (scheme, rest) = text.split_once("://").ok_or_else(error)?;
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(inner);
        let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let host = rest[..authority].rfind('@').map_or(0, |at| at + 1);
        let rest = &rest[host..];
        let is_plain = rest.bytes().all(|b| b.is_ascii_graphic()) && !rest.contains("{{");
        if is_scheme && is_plain && !rest.is_empty() {
            Ok(Self { scheme: format!("{scheme}://"), rest: rest.to_owned() })
        } else {
            Err(error())
        }
    }

    /// The part before the user name.
    pub(crate) fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The part after the `@`.
    pub(crate) fn rest(&self) -> &str {
        &self.rest
    }
}

/// A text that is not a URI without user name and password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid URI {_0}: write scheme://@host:port/database, without user and password")]
pub(crate) struct UriTemplateError(Excerpt);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_in_any_usual_spelling() {
        for text in ["440", "0440", "0o440"] {
            assert_eq!(FileMode::parse(text), Ok(FileMode(0o440)), "{text}");
        }
        for text in
            ["", "0o", "8", "1777", "04400", "-440", "+440", "0x1b0", "rw-r-----", "440 ", "0000", "0040"]
        {
            assert!(FileMode::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_directory_can_be_entered_by_the_readers_of_its_files() {
        for (file, directory) in
            [("0444", 0o755), ("0440", 0o750), ("0400", 0o700), ("0640", 0o750), ("0404", 0o705)]
        {
            assert_eq!(FileMode::parse(file).unwrap().directory_bits(), directory, "{file}");
        }
    }

    #[test]
    fn user_and_password_replace_the_user_info_or_are_inserted() {
        for (text, scheme, rest) in [
            ("postgresql://@h:5432/d?sslmode=require", "postgresql://", "h:5432/d?sslmode=require"),
            ("postgresql://h/d", "postgresql://", "h/d"),
            ("postgresql://{{user}}:{{password}}@h/d", "postgresql://", "h/d"),
            ("mongodb+srv://a:b@c@h/?x=@y", "mongodb+srv://", "h/?x=@y"),
        ] {
            let uri = UriTemplate::parse(text).unwrap();
            assert_eq!((uri.scheme(), uri.rest()), (scheme, rest), "{text}");
        }
        for text in [
            "",
            "h:5432/d",
            "://h",
            "1a://h",
            "a b://h",
            "a://",
            "a://u@",
            "a://u@{{host}}",
            "a://h\n",
            "a://h é",
        ] {
            assert!(UriTemplate::parse(text).is_err(), "{text:?}");
        }
        let message = UriTemplate::parse("test-user:test-password@ h").unwrap_err().to_string();
        assert!(!message.contains("test-password"), "{message}");
    }
}
