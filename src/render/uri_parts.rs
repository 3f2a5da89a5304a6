//! What the URI that came with the fields says of the parts that they do not give. Some Secrets have the address only
//! there: <https://github.com/mongodb/mongodb-kubernetes/blob/master/docs/mongodbcommunity/deploy-configure.md>.
//!
//! It is read where no field names a host, and then for all that is missing: fields win. It is read strictly, by RFC 3986
//! with the lists of hosts that some engines have, because a password that somebody forgot to encode moves what is
//! around it. So nothing is taken from a URI in which a part has a character that it would have to encode.

use crate::credential::{Credential, Engine, FieldName};
use crate::escape::percent_decode;
use crate::render::connection::{Given, given, hosts, named, uri};
use crate::render::error::Problem;
use crate::render::fields::Fields;
use crate::render::part::{DATABASE, HOST, OPTIONS, PASSWORD, PORT, Part, USERNAME};
use crate::secret::{SecretBuffer, SecretBytes};

/// The parts that only the URI gives, each under its first name.
pub(crate) fn missing(
    credential: &Credential,
    fields: &Fields<'_>,
) -> Result<Vec<(FieldName, SecretBytes)>, Problem> {
    let Some((uri, engine)) = uri(fields)? else { return Ok(Vec::new()) };
    if given(fields, HOST)?.is_some() {
        return Ok(Vec::new());
    }
    let bad = || Problem::BadPart { field: uri.field.clone(), form: FORM };
    let mut missing = Vec::new();
    for (part, value) in read(uri, engine, credential).ok_or_else(bad)? {
        if given(fields, part)?.is_none() {
            let value = if part == HOST && given(fields, PORT)?.is_some() {
                without_ports(uri, &value)
            } else {
                value
            };
            missing.push((FieldName::parse(part.name()).map_err(|_| bad())?, value));
        }
    }
    Ok(missing)
}

/// The hosts without their own ports, which a port that a field gives takes the place of.
fn without_ports(uri: Given<'_>, value: &SecretBytes) -> SecretBytes {
    let text = value.expose_text().unwrap_or_default();
    let hosts = hosts(Given { text, ..uri }, None).unwrap_or_default();
    let names: Vec<_> = hosts.iter().map(|host| host.name).collect();
    names.join(",").as_str().into()
}

/// What a URI should be, for a message.
const FORM: &str = "a URI with percent-encoded parts, scheme://user:password@host:port/database?options; \
                    where .keys or .set name the host, it is not read";

/// Takes a URI apart into the parts that it has, hosts and options as they stand there, the others decoded. None if
/// anything in it has another form than it should have.
fn read(uri: Given<'_>, engine: Engine, credential: &Credential) -> Option<Vec<(Part, SecretBytes)>> {
    let (_, rest) = uri.text.trim().split_once("://")?;
    let (rest, query) = split_first(rest, '?');
    let (authority, path) = split_first(rest, '/');
    let (user_info, authority) =
        authority.rsplit_once('@').map_or((None, authority), |(user_info, hosts)| (Some(user_info), hosts));
    let mut parts = Vec::new();
    if let Some(user_info) = user_info {
        let (username, password) = split_first(user_info, ':');
        parts.push((USERNAME, component(username)?));
        if let Some(password) = password {
            parts.push((PASSWORD, component(password)?));
        }
    }
    if !authority.is_empty() {
        hosts(Given { text: authority, ..uri }, None).ok()?;
        parts.push((HOST, authority.into()));
    }
    if let Some(path) = path.filter(|path| !path.is_empty()) {
        // That of SQL Server is an instance.
        (engine != Engine::Sqlserver).then_some(())?;
        parts.push((DATABASE, component(path)?));
    }
    if let Some(query) = query {
        let options = options(query, credential, &mut parts)?;
        parts.push((OPTIONS, options));
    }
    Some(parts)
}

/// The options of a query, without those that are parts of a connection and without those that the annotations name
/// themselves.
fn options(
    query: &str,
    credential: &Credential,
    parts: &mut Vec<(Part, SecretBytes)>,
) -> Option<SecretBytes> {
    let mut options = SecretBuffer::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let (name, value) = (component(name)?, in_query(value)?);
        let name = name.expose_text()?;
        if let Some(part) =
            [USERNAME, PASSWORD, HOST, PORT, DATABASE].into_iter().find(|part| part.is_named(name))
        {
            (!parts.iter().any(|(other, _)| *other == part)).then(|| parts.push((part, value)))?;
        } else if !named(credential).any(|field| field.as_str() == name) {
            options.push_str(if options.is_empty() { "" } else { "&" });
            options.push_str(pair);
        }
    }
    Some(options.finish())
}

/// What stands before and behind a delimiter.
fn split_first(text: &str, delimiter: char) -> (&str, Option<&str>) {
    text.split_once(delimiter).map_or((text, None), |(before, behind)| (before, Some(behind)))
}

/// A component, decoded; none if it has a character that would have to be encoded.
fn component(text: &str) -> Option<SecretBytes> {
    text.chars().all(is_component).then(|| percent_decode(text)).flatten()
}

/// The same for the value of an option, where some leave what delimits nothing there as it is.
fn in_query(text: &str) -> Option<SecretBytes> {
    text.chars().all(|c| is_component(c) || matches!(c, '/' | ':')).then(|| percent_decode(text)).flatten()
}

/// What may stand in a component: what RFC 3986 calls unreserved and sub-delims, and the sign of what is encoded.
fn is_component(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=%".contains(c)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use crate::annotations::{DEFAULT_PREFIX, ReferenceScope, parse};
    use crate::object::{Kind, Namespace, ObjectRef};
    use crate::render::{Sources, bundle};

    /// The one file of these annotations and this Secret.
    fn render(annotations: &[(&str, &str)], secret: &[(&str, &str)]) -> Result<String, String> {
        let namespace = Namespace::parse("prod").unwrap();
        let annotations: BTreeMap<_, _> = annotations
            .iter()
            .chain(&[("secret", "s")])
            .map(|(word, value)| (format!("{DEFAULT_PREFIX}/db.{word}"), (*value).to_owned()))
            .collect();
        let credentials =
            parse(&annotations, DEFAULT_PREFIX, &ReferenceScope::local(namespace.clone())).unwrap();
        let data = secret.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
        let secret = ObjectRef::new(Kind::Secret, namespace, "s").unwrap();
        let files =
            bundle(&credentials, &Sources::from([(secret, Some(data))])).map_err(|e| e.to_string())?;
        Ok(files.into_values().next().unwrap().content.expose_text().unwrap().to_owned())
    }

    fn libpq(secret: &[(&str, &str)]) -> String {
        render(&[("format", "libpq")], secret).unwrap()
    }

    #[test]
    fn all_parts_are_read_from_a_uri() {
        assert_eq!(
            libpq(&[("uri", " postgres://a%40b:p%2Fw@h1:1,[::1]:2/o%20s?sslmode=require&options=-c%20x\n")]),
            "host='h1,::1' port='1,2' dbname='o s' user='a@b' password='p/w' sslmode='require' options='-c x'"
        );
        assert_eq!(libpq(&[("uri", "postgres://h")]), "host='h'");
        assert_eq!(libpq(&[("uri", "postgres://:p@h/?")]), "host='h' password='p'");
        assert_eq!(
            libpq(&[("uri", "postgresql:///o?host=/var/run&user=a&password=p")]),
            "host='/var/run' dbname='o' user='a' password='p'"
        );
        let sqlserver =
            render(&[("format", "jdbc")], &[("uri", "sqlserver://sa:p@h?database=o&encrypt=true")]);
        assert_eq!(
            sqlserver.unwrap(),
            "jdbc:sqlserver://h:1433;databaseName={o};user={sa};password={p};encrypt={true}"
        );
    }

    #[test]
    fn fields_and_annotations_win() {
        let uri = ("uri", "postgresql://other:pw@h:1/no?sslmode=disable&connect_timeout=9");
        assert_eq!(
            libpq(&[uri, ("user", "app"), ("pass", "p"), ("db", "o"), ("options", "sslmode=require")]),
            "host='h' port='1' dbname='o' user='app' password='p' sslmode='require'"
        );
        assert_eq!(
            render(&[("format", "libpq"), ("set", "sslmode=verify-full, database=o")], &[uri]).unwrap(),
            "host='h' port='1' dbname='o' user='other' password='pw' sslmode='verify-full' connect_timeout='9'"
        );
    }

    /// Bitnami's charts do not encode the password, so what could be read would hang on its characters.
    #[test]
    fn nothing_is_read_where_a_field_names_the_host() {
        for password in ["p", "p@x/y:z", "%zz"] {
            let uri = format!("postgresql://app:{password}@other:1/o?sslmode=require");
            assert_eq!(libpq(&[("uri", &uri), ("hostname", "h")]), "host='h'");
        }
    }

    #[test]
    fn what_is_no_uri_of_a_database_is_not_read() {
        for uri in ["https://u:p@h/x", "Server=tcp:h;Password=p", "", "h:1", "jdbc:postgresql://h/o?user=u"] {
            let message = render(&[("format", "uri"), ("engine", "mysql")], &[("uri", uri)]).unwrap_err();
            assert!(message.contains("there is no field host"), "{uri}: {message}");
        }
    }

    #[test]
    fn nothing_is_taken_from_a_uri_that_is_not_encoded_and_no_value_is_told() {
        for uri in [
            "mysql://u:test-p@ss@h/o",
            "mysql://u:test-p/w@h/o",
            "mysql://u:test-p?w@h/o",
            "mysql://u:test-p#w@h/o",
            "mysql://u:test:p@h/o",
            "mysql://u:test-%p@h/o",
            "mysql://u:test-\"@h/o",
            "mysql://u:test é@h/o",
            "mysql://u:test-p@h/a/b",
            "mysql://u:test-p@h:0/o",
            "mysql://u:test-p@h,/o",
            "mysql://u:test-p@%2Ftmp/o",
            "mysql://u:test-p@h/o#f",
            "mysql://u:test-p@h/o?x",
            "mysql://u:test-p@h/o?x=a@b",
            "mysql://u:test-p@h/o?password=test-q",
            "sqlserver://u:test-p@h/instance",
        ] {
            let message = render(&[("format", "uri")], &[("uri", uri)]).unwrap_err();
            assert!(message.contains("the value of field uri is not a URI"), "{uri}: {message}");
            assert!(!message.contains("test"), "{uri}: {message}");
        }
    }

    #[test]
    fn a_uri_tells_of_tls_what_a_type_does_not() {
        let engine = |kind, uri| {
            let uri =
                render(&[("format", "uri")], &[("host", "h"), ("type", kind), ("connection_string", uri)]);
            uri.unwrap().split_once(':').unwrap().0.to_owned()
        };
        assert_eq!(engine("rabbitmq", "amqps://u:p@h:5671/"), "amqps");
        assert_eq!(engine("redis", "rediss://:p@h"), "rediss");
        assert_eq!(engine("amqps", "amqp://h"), "amqps");
        assert_eq!(engine("mysql", "postgresql://h"), "mysql");
        assert_eq!(engine("mongodb", "mongodb+srv://h"), "mongodb");
        assert_eq!(engine("rabbitmq", "https://h"), "amqp");
    }

    proptest! {
        /// A URI that podcreds has written says the same when it comes back alone.
        #[test]
        fn a_uri_is_read_back(
            engine in prop::sample::select(vec!["postgresql", "mysql", "mongodb", "redis", "amqp"]),
            username in "[ -~é]{0,12}",
            password in "[ -~é\n]{0,12}",
            // Dots alone are refused: a reader takes them for steps of a path.
            database in "[ -~é]{0,12}".prop_filter("dots", |text| ![".", ".."].contains(&text.as_str())),
            option in "[ -~é]{0,12}",
        ) {
            let secret = [
                ("type", engine), ("host", "h"), ("username", username.as_str()), ("password", password.as_str()),
                ("database", database.as_str()), ("x", option.as_str()),
            ];
            let keys = ("keys", "type, host, username, password, database, x");
            let written = render(&[("format", "uri"), keys], &secret).unwrap();
            let read = render(&[("format", "uri")], &[("uri", &written)]);
            prop_assert_eq!(read.unwrap(), written);
        }
    }
}
