//! The job of `podcreds sidecar`, as a typical program with kube-rs does it: one watcher for each Secret by name, and a file
//! for every key, replaced by a rename. It has no annotations, formats or atomic bundles.
//!
//! `kube-rs-peer DIR SECRET…`

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::config::AuthInfo;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Config};

fn main() -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("usage: kube-rs-peer DIR SECRET…")?);
    let secrets: Api<Secret> = Api::namespaced(client()?, &env::var("POD_NAMESPACE")?);
    let watches = arguments.map(|name| follow(secrets.clone(), directory.join(&name), name));
    futures::future::join_all(watches).await;
    Ok(())
}

/// Like kube-rs' in-cluster configuration, but with a configurable service account directory.
fn client() -> Result<Client, Box<dyn Error>> {
    let account = env::var("PODCREDS_SERVICE_ACCOUNT_DIR")?;
    let (host, port) = (env::var("KUBERNETES_SERVICE_HOST")?, env::var("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let mut config = Config::new(format!("https://{host}:{port}").parse()?);
    config.root_cert_file = Some(format!("{account}/ca.crt").into());
    config.auth_info = AuthInfo { token_file: Some(format!("{account}/token")), ..AuthInfo::default() };
    Ok(Client::try_from(config)?)
}

async fn follow(secrets: Api<Secret>, directory: PathBuf, name: String) {
    let mut changes = watcher::watch_object(secrets, &name).default_backoff().boxed_local();
    while let Some(change) = changes.next().await {
        let done = match change {
            Ok(Some(secret)) => write(&directory, secret).map_err(|error| error.to_string()),
            Ok(None) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = done {
            eprintln!("{name}: {error}");
        }
    }
}

fn write(directory: &Path, secret: Secret) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for (key, value) in secret.data.unwrap_or_default() {
        let temporary = directory.join(format!(".{key}"));
        fs::write(&temporary, value.0)?;
        fs::rename(&temporary, directory.join(key))?;
    }
    Ok(())
}
