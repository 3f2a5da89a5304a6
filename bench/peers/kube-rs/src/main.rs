//! What `podcreds sidecar` does, as one would write it with kube-rs: one watcher for each Secret by name, and every key
//! written to a file, replaced by a rename. It has no annotations, no formats and no whole bundles.
//!
//! `kube-rs-peer FOLDER SECRET…`

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
    let folder = PathBuf::from(arguments.next().ok_or("usage: kube-rs-peer FOLDER SECRET…")?);
    let secrets: Api<Secret> = Api::namespaced(client()?, &env::var("POD_NAMESPACE")?);
    let watches = arguments.map(|name| follow(secrets.clone(), folder.join(&name), name));
    futures::future::join_all(watches).await;
    Ok(())
}

/// As in a pod, but from a folder that may be elsewhere.
fn client() -> Result<Client, Box<dyn Error>> {
    let account = env::var("PODCREDS_SERVICE_ACCOUNT_DIR")?;
    let (host, port) = (env::var("KUBERNETES_SERVICE_HOST")?, env::var("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let mut config = Config::new(format!("https://{host}:{port}").parse()?);
    config.root_cert_file = Some(format!("{account}/ca.crt").into());
    config.auth_info = AuthInfo { token_file: Some(format!("{account}/token")), ..AuthInfo::default() };
    Ok(Client::try_from(config)?)
}

async fn follow(secrets: Api<Secret>, folder: PathBuf, name: String) {
    let mut changes = watcher::watch_object(secrets, &name).default_backoff().boxed_local();
    while let Some(change) = changes.next().await {
        let done = match change {
            Ok(Some(secret)) => write(&folder, secret).map_err(|error| error.to_string()),
            Ok(None) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = done {
            eprintln!("{name}: {error}");
        }
    }
}

fn write(folder: &Path, secret: Secret) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (key, value) in secret.data.unwrap_or_default() {
        let temporary = folder.join(format!(".{key}"));
        fs::write(&temporary, value.0)?;
        fs::rename(&temporary, folder.join(key))?;
    }
    Ok(())
}
