//! The floor: the least program that does the job of `podcreds init`, to measure podcreds against.
//!
//! It makes the same requests over one kept-alive connection, with the same libraries and the same agent settings, and
//! writes every key of every Secret to a file. It has no retries, no timeouts, no annotations and no messages.
//!
//! `floor FOLDER SECRET…`

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::{env, fs};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Deserialize;
use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

/// All of a pod that podcreds asks for.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

#[derive(Deserialize)]
struct Secret<'a> {
    #[serde(borrow)]
    data: HashMap<&'a str, &'a str>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let folder = arguments.next().ok_or("usage: floor FOLDER SECRET…")?;
    let account = env::var("PODCREDS_SERVICE_ACCOUNT_DIR")?;
    let token = fs::read_to_string(format!("{account}/token"))?;
    let authorization = format!("Bearer {}", token.trim());
    let agent = agent(&fs::read(format!("{account}/ca.crt"))?)?;
    let namespace = namespace_url()?;

    let pod = format!("{namespace}/pods/{}", env::var("POD_NAME")?);
    get(&agent, &pod, &authorization, METADATA)?;
    for name in arguments {
        let body = get(&agent, &format!("{namespace}/secrets/{name}"), &authorization, "application/json")?;
        write(&Path::new(&folder).join(name), &serde_json::from_slice(&body)?)?;
    }
    Ok(())
}

fn agent(ca: &[u8]) -> Result<Agent, ureq::Error> {
    let mut roots = Vec::new();
    for item in parse_pem(ca) {
        if let PemItem::Certificate(certificate) = item? {
            roots.push(certificate);
        }
    }
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&roots))
        .build();
    let config =
        Agent::config_builder().tls_config(tls).proxy(None).max_redirects(0).input_buffer_size(16384);
    Ok(config.build().new_agent())
}

fn namespace_url() -> Result<String, env::VarError> {
    let host = env::var("KUBERNETES_SERVICE_HOST")?;
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let port = env::var("KUBERNETES_SERVICE_PORT")?;
    Ok(format!("https://{host}:{port}/api/v1/namespaces/{}", env::var("POD_NAMESPACE")?))
}

/// The whole body is read, which is what lets the connection serve the next request.
fn get(agent: &Agent, url: &str, authorization: &str, accept: &str) -> Result<Vec<u8>, ureq::Error> {
    let request = agent.get(url).header("Authorization", authorization).header("Accept", accept);
    request.call()?.body_mut().read_to_vec()
}

fn write(folder: &Path, secret: &Secret) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    for (key, value) in &secret.data {
        let temporary = folder.join(format!(".{key}"));
        fs::write(&temporary, BASE64_STANDARD.decode(value)?)?;
        fs::rename(&temporary, folder.join(key))?;
    }
    Ok(())
}
