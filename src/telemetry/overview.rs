//! The body of `/status`: what each credential is served from, as JSON or as a table.

use std::fmt::{Display, Write};
use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_seconds;

use crate::telemetry::status::{Moment, Notification, SourceStatus, Status, Validity};
use crate::text::{columns, formattable, one_line};

/// The maximum length of an error below the table, in characters.
const ERROR_LIMIT: usize = 1000;
const NONE: &str = "<none>";

/// The status as JSON, on one line.
pub(crate) fn json(status: &Status) -> String {
    let mut json = Json(String::new());
    json.open(None, '{');
    json.text("podcredsVersion", &env!("CARGO_PKG_VERSION"));
    if let Some(pod) = &status.pod.0 {
        json.text("pod", &pod);
    }
    json.text("namespace", &status.pod.1);
    json.text("startTime", &time(status.started.time));
    json.literal("ready", &status.ready);
    errors(&mut json, &status.common_errors());
    json.open(Some("credentials"), '[');
    for credential in status.credentials() {
        json.open(None, '{');
        json.text("name", &credential.name);
        json.text("state", &credential.state.as_str());
        if let Some(since) = credential.errors.iter().map(|(since, _)| *since).min() {
            json.text("failingSince", &time(since.time));
        }
        if let Some(version) = credential.served.and_then(|served| served.version.as_ref()) {
            json.text("version", &version);
        }
        if let Some(since) = credential.served.and_then(|served| served.since) {
            json.text("since", &time(since));
        }
        json.open(Some("sources"), '[');
        for SourceStatus { object, served, read } in &credential.sources {
            json.open(None, '{');
            json.text("kind", &object.kind);
            json.text("namespace", &object.namespace);
            json.text("name", &object.name());
            let cluster = object.cluster.id().map(ToString::to_string);
            let read = read.map(str::to_owned);
            let optional = [
                ("cluster", cluster),
                ("resourceVersion", served.map(str::to_owned)),
                ("readResourceVersion", read),
            ];
            for (name, value) in optional {
                if let Some(value) = value {
                    json.text(name, &value);
                }
            }
            json.close('}');
        }
        json.close(']');
        errors(&mut json, &credential.errors);
        if let Some(served) = credential.served.filter(|served| !served.certificates.is_empty()) {
            json.open(Some("certificates"), '[');
            for certificate in &served.certificates {
                json.open(None, '{');
                json.text("field", &certificate.field);
                json.text("expires", &time(certificate.not_after));
                json.close('}');
            }
            json.close(']');
        }
        if let Some((message, at)) = credential.served.and_then(|served| served.last_error.as_ref()) {
            json.open(Some("lastError"), '{');
            json.text("message", &message);
            json.text("time", &time(*at));
            json.close('}');
        }
        if let Some(notification) = credential.served.and_then(|served| served.notification.as_ref()) {
            let (state, at, reason) = delivery(notification, status);
            json.open(Some("notification"), '{');
            json.text("application", &notification.application);
            json.text("version", &notification.version);
            json.text("state", &state);
            json.text("time", &time(at));
            if let Some(reason) = reason {
                json.text("message", &reason);
            }
            json.close('}');
        }
        json.close('}');
    }
    json.close(']');
    json.close('}');
    json.0.push('\n');
    json.0
}

/// The status as a table with a line for each source, and the errors below it.
pub(crate) fn table(status: &Status, now: SystemTime) -> String {
    let header = ["CREDENTIAL", "STATE", "SOURCE", "RESOURCEVERSION", "SINCE", "NOTIFIED"];
    let (mut rows, mut lines) = (vec![header.map(str::to_owned)], Vec::new());
    let mut add = |message: &str| {
        let line = one_line(message, ERROR_LIMIT);
        if !lines.contains(&line) {
            lines.push(line);
        }
    };
    for credential in status.credentials() {
        let since = credential.served.and_then(|served| served.since);
        let notification = credential.served.and_then(|served| served.notification.as_ref());
        let delivery = notification.map(|notification| delivery(notification, status));
        for (_, message) in &credential.errors {
            let name = format!("credential {}", credential.name);
            add(&if message.starts_with(&name) {
                (*message).to_owned()
            } else {
                format!("{name}: {message}")
            });
        }
        if let (Some(notification), Some((_, at, Some(reason)))) = (notification, delivery) {
            add(&format!("{}: notification failing since {}: {reason}", notification.application, time(at)));
        }
        for certificate in credential.served.map_or(&[][..], |served| &served.certificates) {
            if certificate.state(now, status.expiry_warning) > Validity::Valid {
                add(&certificate.message(credential.name, now));
            }
        }
        let row = |source: String, version: Option<&str>| {
            [
                credential.name.to_owned(),
                credential.state.as_str().to_owned(),
                source,
                version.unwrap_or(NONE).to_owned(),
                since.map_or(NONE.to_owned(), |since| age(now.duration_since(since).unwrap_or_default())),
                delivery.map_or(NONE, |(state, ..)| state).to_owned(),
            ]
        };
        for SourceStatus { object, served, read } in &credential.sources {
            let cluster = object.cluster.id().map(|id| format!("{id}:")).unwrap_or_default();
            let is_own = object.namespace.to_string() == status.pod.1;
            let namespace = if is_own { String::new() } else { format!("{}/", object.namespace) };
            rows.push(row(format!("{cluster}{}/{namespace}{}", object.kind, object.name()), *served));
            if let (Some(served), Some(read)) = (served, read) {
                add(&format!(
                    "credential {}: {object} has resourceVersion {read}, and the files are still from {served}",
                    credential.name
                ));
            }
        }
        if credential.sources.is_empty() {
            rows.push(row(NONE.to_owned(), None));
        }
    }
    status.common_errors().iter().for_each(|(_, message)| add(message));
    let separator = if lines.is_empty() { "" } else { "\n" };
    let mut text = columns(&rows) + separator;
    for line in lines {
        text += &line;
        text.push('\n');
    }
    text
}

/// The state of a notification, its time, and why it fails.
fn delivery<'a>(
    notification: &Notification,
    status: &'a Status,
) -> (&'static str, SystemTime, Option<&'a str>) {
    match (notification.delivered, status.pending_notifications.get(&notification.application)) {
        (Some(delivered), _) => ("notified", delivered, None),
        (None, Some((since, reason))) => ("failing", since.time, Some(reason)),
        (None, None) => ("pending", notification.requested, None),
    }
}

fn errors(json: &mut Json, errors: &[(Moment, &str)]) {
    json.open(Some("errors"), '[');
    for (since, message) in errors {
        json.open(None, '{');
        json.text("message", &message);
        json.text("since", &time(since.time));
        json.close('}');
    }
    json.close(']');
}

fn time(time: SystemTime) -> impl Display {
    format_rfc3339_seconds(formattable(time))
}

/// A duration in two units, as kubectl prints ages: `42s`, `5m12s`, `3d4h`.
fn age(age: Duration) -> String {
    const UNITS: [(u64, char); 4] = [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];
    let seconds = age.as_secs();
    let first = UNITS.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let (unit, name) = UNITS[first];
    let mut text = format!("{}{name}", seconds / unit);
    if let Some((next, name)) = UNITS.get(first + 1)
        && seconds % unit >= *next
    {
        let _ = write!(text, "{}{name}", seconds % unit / next);
    }
    text
}

/// JSON that is written from the start to the end.
struct Json(String);

impl Json {
    fn open(&mut self, name: Option<&str>, bracket: char) {
        if !self.0.is_empty() && !self.0.ends_with(['{', '[']) {
            self.0.push(',');
        }
        if let Some(name) = name {
            let _ = write!(self.0, "\"{name}\":");
        }
        self.0.push(bracket);
    }

    fn close(&mut self, bracket: char) {
        self.0.push(bracket);
    }

    fn literal(&mut self, name: &str, value: &dyn Display) {
        let comma = if self.0.ends_with('{') { "" } else { "," };
        let _ = write!(self.0, "{comma}\"{name}\":{value}");
    }

    fn text(&mut self, name: &str, value: &dyn Display) {
        self.literal(name, &serde_json::Value::String(value.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::{Value, json as value};

    use super::*;
    use crate::object::{ClusterId, ClusterRef, Kind, Namespace, ObjectRef};
    use crate::telemetry::{Component, Content, Reason};

    fn object(namespace: &str, name: &str) -> ObjectRef {
        ObjectRef::new(Kind::Secret, Namespace::parse(namespace).unwrap(), name).unwrap()
    }

    /// Started at the beginning of Unix time: `db` is current, `far` is stale with a version that cannot be rendered, and `new` has no files.
    fn status() -> (Status, Moment) {
        let start = Moment { time: SystemTime::UNIX_EPOCH, ..Moment::now() };
        let mut status = Status::new(start, Duration::ZERO);
        status.pod = (Some("app-0".to_owned()), "prod".to_owned());
        let far = object("shared", "far").in_cluster(ClusterRef::Named(ClusterId::parse("hub").unwrap()));
        let objects =
            [("db", object("prod", "orders-db")), ("far", far.clone()), ("new", object("prod", "new"))];
        let named = objects.clone().map(|(name, object)| (name.to_owned(), BTreeSet::from([object])));
        status.set_credentials(named.into());
        for (name, object) in &objects[..2] {
            status.served.read(object, Some("7"), Content::New);
            status.served.rendered(name, [object].into_iter());
            status.served.published(name, Some(("..1970", start.time)));
        }
        let later = Moment { time: start.time + Duration::from_secs(60), ..start };
        status.served.read(&far, Some("8"), Content::New);
        let credential = Component::Credential("far".to_owned());
        status.failing(later, credential, Reason::Render, "credential far: missing key \"a\u{1b}\"\nnext");
        status.set_waiting(BTreeMap::from([("new".to_owned(), "Secret prod/new".to_owned())]));
        status.served.notifying("db", "POST http://localhost/reload".to_owned(), "..1970", later.time);
        (status, later)
    }

    #[test]
    fn the_table_has_a_line_for_each_source_and_each_error() {
        let (mut status, later) = status();
        let expected = "\
CREDENTIAL  STATE    SOURCE                 RESOURCEVERSION  SINCE  NOTIFIED
db          current  Secret/orders-db       7                5m12s  pending
far         stale    hub:Secret/shared/far  7                5m12s  <none>
new         waiting  Secret/new             <none>           <none>  <none>

credential far: missing key \"a \" next
credential far: Secret shared/far of cluster hub has resourceVersion 8, and the files are still from 7
credential new: Secret prod/new
";
        let table_at = |status: &Status| table(status, SystemTime::UNIX_EPOCH + Duration::from_secs(312));
        let squeezed =
            |text: &str| text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&table_at(&status)), squeezed(expected));
        status.notify_failed(later, "POST http://localhost/reload", "HTTP status 500");
        let text = table_at(&status);
        assert!(text.contains("failing\n"), "{text}");
        assert!(text.contains("POST http://localhost/reload: notification failing since 1970-01-01T00:01:00Z: HTTP status 500\n"), "{text}");
        status.notified(later, "POST http://localhost/reload", &BTreeSet::from(["db".to_owned()]), "..1970");
        let text = table_at(&status);
        assert!(text.contains("notified\n") && !text.contains("HTTP"), "{text}");
    }

    #[test]
    fn json_has_the_state_the_sources_and_the_errors_of_each_credential() {
        let (mut status, later) = status();
        status.failing(later, Component::Volume, Reason::Volume, "no space");
        let found: Value = serde_json::from_str(&json(&status)).unwrap();
        let message = "credential far: missing key \"a\u{1b}\"\nnext";
        let at = "1970-01-01T00:01:00Z";
        let started = "1970-01-01T00:00:00Z";
        assert_eq!(
            found,
            value!({
                "podcredsVersion": env!("CARGO_PKG_VERSION"), "pod": "app-0", "namespace": "prod",
                "startTime": started, "ready": false,
                "errors": [{"message": "no space", "since": at}],
                "credentials": [
                    {
                        "name": "db", "state": "current", "version": "..1970", "since": started,
                        "sources": [{"kind": "Secret", "namespace": "prod", "name": "orders-db", "resourceVersion": "7"}],
                        "errors": [],
                        "notification": {"application": "POST http://localhost/reload", "version": "..1970", "state": "pending", "time": at},
                    },
                    {
                        "name": "far", "state": "stale", "failingSince": at, "version": "..1970", "since": started,
                        "sources": [{"kind": "Secret", "namespace": "shared", "name": "far", "cluster": "hub", "resourceVersion": "7", "readResourceVersion": "8"}],
                        "errors": [{"message": message, "since": at}, {"message": "no space", "since": at}],
                        "lastError": {"message": message, "time": at},
                    },
                    {
                        "name": "new", "state": "waiting", "failingSince": started,
                        "sources": [{"kind": "Secret", "namespace": "prod", "name": "new"}],
                        "errors": [{"message": "Secret prod/new", "since": started}],
                    },
                ],
            })
        );
    }

    #[test]
    fn the_table_shows_certificates_that_expire_and_json_all() {
        let (mut status, later) = status();
        let expires = |days: u64| later.time + Duration::from_secs(days * 86_400);
        let fields = [("ca.crt", expires(90)), ("old.crt", later.time), ("tls.crt", expires(2))];
        status.served.set_certificates("db", fields.into_iter());
        let text = table(&status, later.time);
        assert!(
            text.contains("credential db: the certificate in field tls.crt expires at 1970-01-03T00:01:00Z"),
            "{text}"
        );
        assert!(
            text.contains("credential db: the certificate in field old.crt expired at 1970-01-01T00:01:00Z"),
            "{text}"
        );
        assert!(!text.contains("ca.crt"), "{text}");
        let found: Value = serde_json::from_str(&json(&status)).unwrap();
        let certificates = &found["credentials"][0]["certificates"];
        assert_eq!(certificates[0], value!({"field": "ca.crt", "expires": "1970-04-01T00:01:00Z"}));
        assert_eq!(certificates.as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn the_last_error_stays_after_a_recovery() {
        let (mut status, _) = status();
        status.healthy(&Component::Credential("far".to_owned()));
        let found: Value = serde_json::from_str(&json(&status)).unwrap();
        let far = &found["credentials"][1];
        assert_eq!((&far["state"], &far["errors"]), (&value!("current"), &value!([])));
        assert_eq!(far["lastError"]["time"], "1970-01-01T00:01:00Z");
    }

    #[test]
    fn ages_have_two_units() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (312, "5m12s"),
            (3600, "1h"),
            (3660, "1h1m"),
            (277_200, "3d5h"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), expected);
        }
    }
}
