//! Secrets, ConfigMaps and Services that the same manifests define: the pod's files are rendered from them, by the code of `init`.

use crate::check::files::has_known_fields;
use crate::check::rule::{NO_ENGINE, SOURCE, SOURCE_NAME, SOURCE_VALUE};
use crate::check::{Report, Subject};
use crate::credential::{Credential, CredentialName};
use crate::manifest::{self, Object, Place};
use crate::object::{Data, Kind, ObjectData, ObjectRef, ServiceData};
use crate::render::{Sources, lacks_engine, render};
use crate::text::{nearest, shown_key};
use crate::yaml::Node;

pub(super) fn check<'a>(subject: &Subject<'_, 'a>, report: &mut Report<'a>) {
    let Some(credentials) = &subject.credentials else { return };
    let mut sources = Sources::new();
    let mut complete = Vec::new();
    for credential in credentials {
        let mut is_complete = true;
        for wanted in credential.objects() {
            let found = find(subject, wanted);
            if let Some(secret) = found.filter(|_| wanted.kind == Kind::Secret) {
                encoding(subject, &secret, report);
            }
            match found.and_then(|object| content(&object, wanted)) {
                Some(content) => drop(sources.insert(wanted.clone(), Some(content))),
                None => is_complete = false,
            }
            if found.is_none() {
                misspelt(subject, credential, wanted, credentials, report);
            }
        }
        // What is not here may be in the cluster. An entry of several credentials is rendered as a whole.
        if is_complete {
            complete.push(credential.clone());
        } else if has_known_fields(credential) && lacks_engine(credential) {
            let message = format!(
                "credential {}: format {} needs a database engine, and none of the fields that the annotations list can name it",
                credential.name,
                credential.output.format().name()
            );
            report.add(NO_ENGINE, subject.object(), place(subject, &credential.name), message);
        }
    }
    let object = subject.object();
    match render(&complete, &sources) {
        Ok(rendered) => {
            for notice in rendered.notices.iter().filter(|notice| notice.is_suspicious()) {
                report.add(SOURCE_VALUE, object, place(subject, notice.credential()), notice.to_string());
            }
        }
        Err(errors) => {
            for error in &errors.0 {
                report.add(SOURCE, object, place(subject, error.credential()), error.to_string());
            }
        }
    }
}

/// Reports an object that the manifests do not define if its name is nearly that of one that they define for nothing else.
fn misspelt<'a>(
    subject: &Subject<'_, 'a>,
    credential: &Credential,
    wanted: &ObjectRef,
    credentials: &[Credential],
    report: &mut Report<'a>,
) {
    let is_near = |object: &&Object<'_>| subject.namespace(object) == wanted.namespace.as_str();
    let here = || subject.objects.iter().filter(is_near);
    // Operators create a Secret of the same name, or of the one in their spec.
    let is_created = |object: &Object<'_>| {
        let target = object.node.find(&["spec", "target", "name"]).and_then(Node::text);
        object.name() == Some(wanted.name()) || target == Some(wanted.name())
    };
    if wanted.cluster.id().is_some() || here().any(is_created) {
        return;
    }
    let letters = |name: &str| name.replace(|c: char| c.is_ascii_digit(), "");
    let is_free = |name: &&str| {
        let uses = |credential: &Credential| {
            credential.objects().any(|other| other.kind == wanted.kind && other.name() == *name)
        };
        letters(name) != letters(wanted.name()) && !credentials.iter().any(uses)
    };
    let named = here().filter(|object| object.api_version == "v1" && object.kind == wanted.kind.as_str());
    if let Some(near) = nearest(wanted.name(), named.filter_map(Object::name).filter(is_free)) {
        let message = format!(
            "credential {}: {} {} is not in these manifests; did you mean {near}?",
            credential.name,
            wanted.kind,
            wanted.name()
        );
        report.add(SOURCE_NAME, subject.object(), place(subject, &credential.name), message);
    }
}

/// Where a credential is: the annotation that names its source.
fn place<'a>(subject: &Subject<'_, 'a>, name: &CredentialName) -> Place<'a> {
    let annotations = subject.template().node.find(&["metadata", "annotations"]);
    let beginning = format!("{}/{name}.", subject.prefix);
    let entries = annotations.into_iter().flat_map(Node::entries);
    let mut found = None;
    for (key, at, _) in entries.filter(|(key, ..)| key.starts_with(&beginning)) {
        let is_source = matches!(&key[beginning.len()..], "secret" | "configmap" | "service");
        if is_source || found.is_none() {
            found = Some(at);
        }
        if is_source {
            break;
        }
    }
    match found {
        Some(at) => Place { file: subject.object().file, at },
        None => subject.template().annotation_place(&beginning),
    }
}

fn find<'a>(subject: &Subject<'_, 'a>, wanted: &ObjectRef) -> Option<Object<'a>> {
    // Another cluster has other objects of the same name.
    if wanted.cluster.id().is_some() {
        return None;
    }
    let mut objects = subject.objects.iter().filter(|object| {
        object.api_version == "v1"
            && object.kind == wanted.kind.as_str()
            && object.name() == Some(wanted.name())
            && subject.namespace(object) == wanted.namespace.as_str()
    });
    objects.next().copied()
}

/// Reports values under `data` of a Secret that are plain text.
fn encoding<'a>(subject: &Subject<'_, 'a>, secret: &Object<'a>, report: &mut Report<'a>) {
    for (key, _, value) in secret.node.get("data").into_iter().flat_map(Node::entries) {
        let text = value.text().unwrap_or_default();
        if !is_placeholder(text) && manifest::decode(value).is_none() {
            let message = format!("the value of key {} of {secret} is not base64", shown_key(key));
            let remedy = "write plain text under stringData".to_owned();
            report.add_with(SOURCE, subject.object(), secret.place(value), message, remedy);
        }
    }
}

/// Whether another tool replaces a value before the manifest is applied, such as `<path:…>`, `${…}`, `{{ … }}` and SOPS' `ENC[…]`.
fn is_placeholder(text: &str) -> bool {
    text.starts_with("ENC[")
        || text.starts_with('<') && text.ends_with('>')
        || text.contains("${")
        || text.contains("{{")
}

/// The content of an object. `None` means that something else fills or decrypts it.
fn content(object: &Object<'_>, wanted: &ObjectRef) -> Option<ObjectData> {
    if object.node.get("sops").is_some() {
        return None;
    }
    if wanted.kind == Kind::Service {
        return service(object, wanted).map(ObjectData::Service);
    }
    let is_replaced = |key: &str, test: fn(&str) -> bool| {
        let mut values = object.node.get(key).into_iter().flat_map(Node::entries);
        values.any(|(.., value)| value.text().is_some_and(test))
    };
    // A ConfigMap may have a template, which contains braces.
    let is_open = match wanted.kind {
        Kind::Secret => is_replaced("stringData", is_placeholder),
        _ => is_replaced("data", |text| is_placeholder(text) && !text.contains("{{")),
    };
    if is_open {
        return None;
    }
    let data = manifest::data(object).ok()?;
    (!data.is_empty()).then_some(ObjectData::Keys(data))
}

fn service(object: &Object<'_>, wanted: &ObjectRef) -> Option<ServiceData> {
    let spec = object.node.get("spec")?;
    let host = match spec.get("type").and_then(Node::text) {
        Some("ExternalName") => spec.get("externalName")?.text()?.to_owned(),
        _ => format!("{}.{}.svc", wanted.name(), wanted.namespace),
    };
    let mut ports = Data::new();
    for port in spec.get("ports").map(Node::items).unwrap_or_default() {
        let name = port.get("name").and_then(Node::text).unwrap_or_default();
        let number = port.get("port")?.whole_number()?.to_string();
        ports.insert(name.to_owned(), number.as_str().into());
    }
    Some(ServiceData { host: host.as_str().into(), ports })
}
