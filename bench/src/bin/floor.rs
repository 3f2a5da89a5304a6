//! The floor: the least program that does the job of `podcreds init`, to measure podcreds against.
//!
//! It makes the same requests over one kept-alive connection, with the same libraries and the same agent settings, and
//! writes every key of every Secret to a file. It has no retries, no timeouts, no annotations and no messages.
//!
//! `floor FOLDER SECRET…`

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::{env, fs};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use podcreds_bench::Pod;
use serde::Deserialize;

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
    let pod = Pod::from_env()?;
    get(&pod, &format!("pods/{}", env::var("POD_NAME")?), METADATA)?;
    for name in arguments {
        let body = get(&pod, &format!("secrets/{name}"), "application/json")?;
        write(&Path::new(&folder).join(name), &serde_json::from_slice(&body)?)?;
    }
    Ok(())
}

/// The whole body is read, which is what lets the connection serve the next request.
fn get(pod: &Pod, path: &str, accept: &str) -> Result<Vec<u8>, ureq::Error> {
    let request = pod.agent.get(format!("{}/{path}", pod.namespace));
    request
        .header("Authorization", &pod.authorization)
        .header("Accept", accept)
        .call()?
        .body_mut()
        .read_to_vec()
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
