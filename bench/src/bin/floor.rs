//! The floor: the smallest program that does the job of `podcreds init`, as a baseline for podcreds.
//!
//! It sends the same requests over one kept-alive connection, with the same libraries and agent settings, and writes every
//! key of every Secret to a file. It has no retries, timeouts, annotations or messages.
//!
//! `floor DIR SECRET…`

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::{env, fs};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use podcreds_bench::Pod;
use serde::Deserialize;

/// podcreds requests only the metadata of a pod.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

#[derive(Deserialize)]
struct Secret<'a> {
    #[serde(borrow)]
    data: HashMap<&'a str, &'a str>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let directory = arguments.next().ok_or("usage: floor DIR SECRET…")?;
    let pod = Pod::from_env()?;
    get(&pod, &format!("pods/{}", env::var("POD_NAME")?), METADATA)?;
    for name in arguments {
        let body = get(&pod, &format!("secrets/{name}"), "application/json")?;
        write(&Path::new(&directory).join(name), &serde_json::from_slice(&body)?)?;
    }
    Ok(())
}

/// Reads the whole body, because only then can the connection serve the next request.
fn get(pod: &Pod, path: &str, accept: &str) -> Result<Vec<u8>, ureq::Error> {
    let request = pod.agent.get(format!("{}/{path}", pod.namespace));
    request
        .header("Authorization", &pod.authorization)
        .header("Accept", accept)
        .call()?
        .body_mut()
        .read_to_vec()
}

fn write(directory: &Path, secret: &Secret) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(directory)?;
    for (key, value) in &secret.data {
        let temporary = directory.join(format!(".{key}"));
        fs::write(&temporary, BASE64_STANDARD.decode(value)?)?;
        fs::rename(&temporary, directory.join(key))?;
    }
    Ok(())
}
