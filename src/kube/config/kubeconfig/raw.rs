//! The entries of one kubeconfig file and their parser. Types are checked here, all errors at once. Whether an entry makes sense
//! is checked when it is selected (`resolve`): kubectl, too, ignores what is wrong with other entries.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{self, Component, Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::kube::config::kubeconfig::Error;
use crate::secret::{SecretBuffer, SecretBytes};
use crate::text::Quoted;
use crate::yaml::{self, Cursor, Fields, Position, ValueErrors};

/// A parsed file.
#[derive(Debug)]
pub struct File {
    pub(crate) path: PathBuf,
    pub(crate) entries: Entries,
}

/// Several files, merged.
#[derive(Debug, Default)]
pub struct Kubeconfig {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) entries: Entries,
}

#[derive(Debug, Default)]
pub(crate) struct Entries {
    pub(crate) current_context: Option<String>,
    pub(crate) clusters: BTreeMap<String, Cluster>,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// Where an entry begins.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) path: Arc<Path>,
    pub(crate) at: Position,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.path.display(), self.at)
    }
}

/// Paths are absolute. Empty text is `None`, because kubectl treats it as absent.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) origin: Origin,
    pub(crate) server: Option<String>,
    pub(crate) server_name: Option<String>,
    pub(crate) insecure: bool,
    pub(crate) authority: FileOrData,
    pub(crate) proxy_url: Option<SecretBytes>,
    /// The extension that exec plugins receive.
    pub(crate) exec_config: Option<Redacted>,
}

#[derive(Debug)]
pub(crate) struct User {
    pub(crate) origin: Origin,
    pub(crate) token: Option<SecretBytes>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) certificate: FileOrData,
    pub(crate) key: FileOrData,
    pub(crate) username_or_password: bool,
    /// Its name, which may be empty.
    pub(crate) auth_provider: Option<String>,
    pub(crate) exec: Option<RawExec>,
    pub(crate) act_as: Option<String>,
    pub(crate) act_as_uid: Option<String>,
    pub(crate) act_as_groups: Vec<String>,
    pub(crate) act_as_extra: BTreeMap<String, Vec<String>>,
}

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) origin: Origin,
    pub(crate) cluster: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) namespace: Option<String>,
}

/// PEM as the path of a file or as inline data.
#[derive(Debug)]
pub(crate) struct FileOrData {
    pub(crate) file: Option<PathBuf>,
    pub(crate) data: Option<SecretBytes>,
}

pub(crate) struct RawExec {
    pub(crate) command: Option<PathBuf>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, SecretBytes)>,
    pub(crate) version: Option<String>,
    pub(crate) interactive: Option<String>,
    pub(crate) install_hint: Option<String>,
    pub(crate) provide_cluster: bool,
}

impl fmt::Debug for RawExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments may be secrets.
        f.debug_struct("RawExec").field("command", &self.command).finish_non_exhaustive()
    }
}

/// JSON for an exec plugin, which may hold secrets.
#[derive(Clone)]
pub(crate) struct Redacted(pub(crate) serde_json::Value);

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redacted")
    }
}

/// The name of the extension of a cluster that exec plugins receive.
const EXEC_EXTENSION: &str = "client.authentication.k8s.io/exec";

/// Parses one file, YAML or JSON. Unknown keys are ignored. Relative paths are resolved against the directory of `path`, and
/// `..` is removed without following symbolic links, as kubectl does.
///
/// # Errors
/// Where the text is not YAML; otherwise every value of a wrong type and every duplicate name.
pub fn parse(text: &[u8], path: &Path) -> Result<File, Error> {
    let document = yaml::parse(text).map_err(|cause| Error::Syntax { path: path.to_owned(), cause })?;
    let problems = ValueErrors::default();
    let entries = Parser::new(path).entries(&Cursor::document(&document, &problems));
    match problems.into_vec() {
        problems if problems.is_empty() => Ok(File { path: path.to_owned(), entries }),
        problems => Err(Error::Values { path: path.to_owned(), problems }),
    }
}

/// Parses the entries of one file.
struct Parser {
    path: Arc<Path>,
    directory: PathBuf,
}

impl Parser {
    fn new(path: &Path) -> Self {
        // If the working directory was deleted, paths stay relative.
        let absolute = path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { path: path.into(), directory: absolute.parent().unwrap_or(&absolute).to_owned() }
    }

    fn entries(&self, document: &Cursor<'_>) -> Entries {
        let Some(top) = document.fields() else { return Entries::default() };
        expect(&top.get("apiVersion"), "v1");
        expect(&top.get("kind"), "Config");
        Entries {
            current_context: top.get("current-context").string(),
            clusters: named(&top.get("clusters"), |entry| self.cluster(&entry.get("cluster"), entry)),
            users: named(&top.get("users"), |entry| self.user(&entry.get("user"), entry)),
            contexts: named(&top.get("contexts"), |entry| self.context(&entry.get("context"), entry)),
        }
    }

    fn origin(&self, entry: &Fields<'_>) -> Origin {
        Origin { path: Arc::clone(&self.path), at: entry.at() }
    }

    fn cluster(&self, place: &Cursor<'_>, entry: &Fields<'_>) -> Cluster {
        let fields = place.fields();
        let get = |key| get(place, fields.as_ref(), key);
        Cluster {
            origin: self.origin(entry),
            server: get("server").string(),
            server_name: get("tls-server-name").string(),
            insecure: get("insecure-skip-tls-verify").boolean().unwrap_or_default(),
            authority: self.pair(&get("certificate-authority"), &get("certificate-authority-data")),
            proxy_url: get("proxy-url").secret(),
            exec_config: named(&get("extensions"), |extension| {
                extension.get("extension").json().map(Redacted)
            })
            .remove(EXEC_EXTENSION)
            .flatten(),
        }
    }

    fn user(&self, place: &Cursor<'_>, entry: &Fields<'_>) -> User {
        let fields = place.fields();
        let get = |key| get(place, fields.as_ref(), key);
        let extra = get("as-user-extra").entries();
        User {
            origin: self.origin(entry),
            token: get("token").secret(),
            token_file: get("tokenFile").string().map(|path| self.resolve(&path)),
            certificate: self.pair(&get("client-certificate"), &get("client-certificate-data")),
            key: self.pair(&get("client-key"), &get("client-key-data")),
            username_or_password: [get("username"), get("password")]
                .iter()
                .any(|place| place.secret().is_some()),
            auth_provider: get("auth-provider")
                .fields()
                .map(|fields| fields.get("name").string().unwrap_or_default()),
            exec: get("exec").fields().map(|fields| self.exec(&fields)),
            act_as: get("as").string(),
            act_as_uid: get("as-uid").string(),
            act_as_groups: get("as-groups").string_seq(),
            act_as_extra: extra
                .into_iter()
                .map(|(key, values)| (key, values.string_seq()))
                .collect::<BTreeMap<_, _>>(),
        }
    }

    fn context(&self, place: &Cursor<'_>, entry: &Fields<'_>) -> Context {
        let fields = place.fields();
        let get = |key| get(place, fields.as_ref(), key);
        Context {
            origin: self.origin(entry),
            cluster: get("cluster").string(),
            user: get("user").string(),
            namespace: get("namespace").string(),
        }
    }

    fn exec(&self, fields: &Fields<'_>) -> RawExec {
        let variable = |item: &Cursor<'_>| {
            let variable = item.fields()?;
            let value = variable.get("value").secret().unwrap_or_default();
            Some((variable.get("name").string().unwrap_or_default(), value))
        };
        RawExec {
            // A command without a slash is searched in PATH.
            command: fields.get("command").string().map(|command| {
                if command.contains('/') { self.resolve(&command) } else { PathBuf::from(command) }
            }),
            args: fields.get("args").string_seq(),
            env: fields.get("env").seq().iter().filter_map(variable).collect(),
            version: fields.get("apiVersion").string(),
            interactive: fields.get("interactiveMode").string(),
            install_hint: fields.get("installHint").string(),
            provide_cluster: fields.get("provideClusterInfo").boolean().unwrap_or_default(),
        }
    }

    fn pair(&self, file: &Cursor<'_>, data: &Cursor<'_>) -> FileOrData {
        FileOrData { file: file.string().map(|path| self.resolve(&path)), data: decode(data) }
    }

    fn resolve(&self, path: &str) -> PathBuf {
        let mut clean = PathBuf::new();
        for part in self.directory.join(path).components() {
            match part {
                Component::CurDir => {}
                Component::ParentDir => {
                    clean.pop();
                }
                part => clean.push(part),
            }
        }
        clean
    }
}

/// The value under a key of an entry's inner mapping, or an absent value if the entry has none.
fn get<'a>(place: &Cursor<'a>, fields: Option<&Fields<'a>>, key: &str) -> Cursor<'a> {
    fields.map_or_else(|| place.absent(), |fields| fields.get(key))
}

/// Reads a list of named entries. kubectl accepts an entry without a name, and its name is then empty.
fn named<T>(list: &Cursor<'_>, read: impl Fn(&Fields<'_>) -> T) -> BTreeMap<String, T> {
    let mut map = BTreeMap::new();
    for item in list.seq() {
        let Some(fields) = item.fields() else { continue };
        let name = fields.get("name");
        let text = name.string().unwrap_or_default();
        if map.insert(text.clone(), read(&fields)).is_some() {
            name.report(format!("duplicate name {}", Quoted(&text)));
        }
    }
    map
}

fn expect(place: &Cursor<'_>, wanted: &str) {
    if place.string().is_some_and(|text| text != wanted) {
        place.report(format!("expected {wanted}: not a kubeconfig, or an unsupported version"));
    }
}

/// Decodes PEM in base64. Line breaks are ignored, because Go's decoder ignores them.
fn decode(place: &Cursor<'_>) -> Option<SecretBytes> {
    let text = place.secret()?;
    let mut joined = SecretBuffer::with_capacity(text.expose().len());
    text.expose().split(|b| matches!(b, b'\r' | b'\n')).for_each(|line| joined.push(line));
    match STANDARD.decode(joined.finish().expose()) {
        Ok(bytes) => Some(SecretBytes::new(bytes)),
        Err(_) => {
            place.report("must be PEM in base64; for the path of a file, use the key without -data");
            None
        }
    }
}
