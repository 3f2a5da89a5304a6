//! One form for what we select and for what kubectl shows of it, so that both can be compared.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use podcreds::kube::Server;
use podcreds::kube::config::kubeconfig::Access;
use podcreds::kube::{Interactive, PemSource};

/// What we select. What is not there has no key; the text of a certificate's file stands for its path, if it is there.
pub(crate) fn normalised(access: &Access) -> Value {
    let secret = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let exec = access.exec.as_ref().map(|exec| {
        let env: Vec<_> =
            exec.plugin.env.iter().map(|(name, value)| json!([name, secret(value.expose())])).collect();
        let interactive = match exec.plugin.interactive {
            Interactive::Never => "Never",
            Interactive::IfAvailable => "IfAvailable",
            Interactive::Always => "Always",
        };
        without_nothing(json!({
            "command": last(&exec.plugin.command),
            "args": exec.plugin.args,
            "env": env,
            "version": exec.plugin.version.name(),
            "interactive": interactive,
            "hint": exec.plugin.install_hint,
            "cluster": exec.cluster.is_some(),
        }))
    });
    let client = access.client_certificate.as_ref();
    let client = client.map(|(certificate, key)| json!({"certificate": pem(certificate), "key": pem(key)}));
    let act_as = access.impersonate.as_ref();
    let act_as =
        act_as.map(|who| json!([who.user, who.uid.clone().unwrap_or_default(), who.groups, who.extra]));
    without_nothing(json!({
        "context": access.context,
        "namespace": access.namespace.as_ref().map(ToString::to_string),
        "server": access.server.to_string(),
        "server_name": access.server_name,
        "insecure": access.insecure,
        "authority": access.authority.as_ref().map(pem),
        "proxy": access.proxy_url.as_ref().map(|url| secret(url.expose())),
        "token": access.token.as_ref().map(|token| secret(token.expose())),
        "token_file": access.token_file.as_deref().map(last),
        "client": client,
        "exec": exec,
        "as": act_as,
    }))
}

/// What `kubectl config view --minify --flatten --raw -o json` shows, in the same form.
pub(crate) fn of_kubectl(view: &Value) -> Value {
    let (context, cluster, user) =
        (&view["contexts"][0]["context"], &view["clusters"][0]["cluster"], &view["users"][0]["user"]);
    let data = |value: &Value| Some(String::from_utf8(STANDARD.decode(value.as_str()?).unwrap()).unwrap());
    let client = data(&user["client-certificate-data"])
        .map(|certificate| json!({"certificate": certificate, "key": data(&user["client-key-data"])}));
    let exec = user["exec"].as_object().map(|exec| {
        let variables = exec["env"].as_array().into_iter().flatten();
        without_nothing(json!({
            "command": exec["command"].as_str().map(|command| last(Path::new(command))),
            "args": exec["args"],
            "env": variables.map(|variable| json!([variable["name"], variable["value"]])).collect::<Vec<_>>(),
            "version": exec["apiVersion"],
            "interactive": exec["interactiveMode"],
            "hint": exec.get("installHint"),
            "cluster": exec["provideClusterInfo"],
        }))
    });
    let or = |value: &Value, default: Value| if value.is_null() { default } else { value.clone() };
    let act_as = user["as"].as_str().map(|name| {
        json!([
            name,
            or(&user["as-uid"], json!("")),
            or(&user["as-groups"], json!([])),
            or(&user["as-user-extra"], json!({}))
        ])
    });
    without_nothing(json!({
        "context": view["current-context"],
        "namespace": context["namespace"],
        "server": Server::parse_url(cluster["server"].as_str().unwrap()).unwrap().to_string(),
        "server_name": cluster["tls-server-name"],
        "insecure": cluster["insecure-skip-tls-verify"],
        "authority": data(&cluster["certificate-authority-data"]),
        "proxy": cluster["proxy-url"],
        "token": user["token"],
        "token_file": user["tokenFile"].as_str().map(|path| last(Path::new(path))),
        "client": client,
        "exec": exec,
        "as": act_as,
    }))
}

/// Where kubectl looks for files and commands has a test of its own: it does not show that.
fn last(path: &Path) -> String {
    if path.starts_with("/usr") {
        path.display().to_string()
    } else {
        path.file_name().unwrap().to_str().unwrap().to_owned()
    }
}

fn pem(material: &PemSource) -> String {
    match material {
        PemSource::Inline(bytes) => String::from_utf8(bytes.expose().to_vec()).unwrap(),
        PemSource::File(path) => fs::read_to_string(path).unwrap_or_else(|_| path.display().to_string()),
    }
}

fn without_nothing(value: Value) -> Value {
    let Value::Object(map) = value else { return value };
    let is_nothing = |value: &Value| *value == Value::Null || *value == json!(false) || *value == json!([]);
    Value::Object(map.into_iter().filter(|(_, value)| !is_nothing(value)).collect::<Map<_, _>>())
}
