//! What a credential is written as: one variant of [`Output`] for each kind of file, with the settings that this kind has.

use std::fmt;

use crate::credential::TemplateSource;
use crate::credential::engine::Engine;
use crate::credential::injector::InjectorEnv;
use crate::credential::names::{CredentialName, FieldName};
use crate::credential::scheme::Scheme;
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
    /// The text that a template renders to, either as the whole content of the file or as the value of environment variables.
    Template {
        source: TemplateSource,
        /// `None` means a file with the text alone.
        env_export: Option<EnvExport>,
    },
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionStringFormat {
    /// `None` means the engine's usual scheme.
    Uri(Option<Scheme>),
    Jdbc,
    Adonet,
    Libpq,
}

/// Configuration files of database clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientFileFormat {
    Pgpass,
    Pgservice,
    Mycnf,
}

/// The environment variables that a connection string or the text of a template is assigned to.
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
                ConnectionStringFormat::Uri(_) => Format::Uri,
                ConnectionStringFormat::Jdbc => Format::Jdbc,
                ConnectionStringFormat::Adonet => Format::Adonet,
                ConnectionStringFormat::Libpq => Format::Libpq,
            },
            Self::ClientFile { format, .. } => match format {
                ClientFileFormat::Pgpass => Format::Pgpass,
                ClientFileFormat::Pgservice => Format::Pgservice,
                ClientFileFormat::Mycnf => Format::Mycnf,
            },
            Self::Pkcs12 => Format::Pkcs12,
            Self::Template { .. } => Format::Template,
        }
    }

    /// The format of the file if it sets environment variables.
    pub(crate) fn env_file(&self) -> Option<EnvFileFormat> {
        match self {
            Self::Env(file) => Some(*file),
            Self::InjectorEnv(_) => Some(EnvFileFormat::Env),
            Self::ConnectionString { env_export: Some(export), .. }
            | Self::Template { env_export: Some(export), .. } => Some(export.file),
            _ => None,
        }
    }

    /// The format of the file: that of the environment variable if it contains one, such as `env` for a connection string.
    pub(crate) fn file_format(&self) -> Format {
        self.env_file().map_or(self.format(), EnvFileFormat::format)
    }

    /// The variables of an environment file that annotations of their own name, not `.keys`; `None` means that each field is a
    /// variable, or that there are none.
    pub(crate) fn exported_variables(&self) -> Option<[&[FieldName]; 2]> {
        match self {
            Self::ConnectionString { env_export: Some(export), .. }
            | Self::Template { env_export: Some(export), .. } => Some([&export.names, &[]]),
            Self::InjectorEnv(InjectorEnv::Uri { names, .. }) => Some([names, &[]]),
            Self::InjectorEnv(InjectorEnv::Classic { user, password }) => Some([user, password]),
            _ => None,
        }
    }

    /// The template, unless the output has another format.
    pub(crate) fn template(&self) -> Option<&TemplateSource> {
        match self {
            Self::Template { source, .. } => Some(source),
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
    /// An ADO.NET connection string.
    Adonet,
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
    pub const ALL: [(&'static str, Self); 16] = [
        ("files", Self::Files),
        ("env", Self::Env),
        ("dotenv", Self::Dotenv),
        ("envfile", Self::Envfile),
        ("json", Self::Json),
        ("yaml", Self::Yaml),
        ("properties", Self::Properties),
        ("uri", Self::Uri),
        ("jdbc", Self::Jdbc),
        ("adonet", Self::Adonet),
        ("libpq", Self::Libpq),
        ("pgpass", Self::Pgpass),
        ("pgservice", Self::Pgservice),
        ("mycnf", Self::Mycnf),
        ("pkcs12", Self::Pkcs12),
        ("template", Self::Template),
    ];

    /// Whether the output is one text, which may be the value of an environment variable instead of a file.
    pub(crate) fn is_single_value(self) -> bool {
        matches!(self, Self::Uri | Self::Jdbc | Self::Adonet | Self::Libpq | Self::Template)
    }

    /// Whether the output is a connection, which has an engine.
    pub(crate) fn is_connection(self) -> bool {
        !self.has_own_field_names() && self != Self::Pkcs12
    }

    /// Whether each field is written under its own name, so that any names are accepted.
    pub(crate) fn has_own_field_names(self) -> bool {
        match self {
            Self::Files | Self::Env | Self::Dotenv | Self::Envfile => true,
            Self::Json | Self::Yaml | Self::Properties | Self::Template => true,
            Self::Uri | Self::Jdbc | Self::Adonet | Self::Libpq => false,
            Self::Pgpass | Self::Pgservice | Self::Mycnf | Self::Pkcs12 => false,
        }
    }

    /// The spelling in `.format`.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }

    /// Whether the output is a directory.
    pub(crate) fn is_directory(self) -> bool {
        matches!(self, Self::Files | Self::Pkcs12)
    }

    /// Whether several credentials may add their entries to the same file: `formats::merge` can join what each of them writes.
    pub(crate) fn is_mergeable(self) -> bool {
        matches!(
            self,
            Self::Env
                | Self::Dotenv
                | Self::Envfile
                | Self::Json
                | Self::Yaml
                | Self::Properties
                | Self::Pgpass
                | Self::Pgservice
        )
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
            Self::Adonet => ".adonet",
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
}
