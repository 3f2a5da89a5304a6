//! `podcreds inject`: adds podcreds to the pod templates of manifests, and prints the manifests.

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use log::{info, warn};

use crate::inject::{self, Options};
use crate::manifest;

/// Prints all manifests, those of several files as one stream of documents. Prints nothing if there is an error.
///
/// # Errors
/// Manifests that cannot be read or edited, or whose annotations are invalid.
pub(crate) fn run(files: &[PathBuf], options: &Options, out: &mut dyn Write) -> Result<(), Error> {
    let manifests = manifest::load(files)?;
    let output = inject::run(&manifests, options)?;
    match print(&output.texts, out) {
        // The reader, such as head, has closed the pipe.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(Error::Output(error)),
        _ => {}
    }
    output.notes.iter().for_each(|note| info!("{note}"));
    output.warnings.iter().for_each(|warning| warn!("{warning}"));
    Ok(())
}

fn print(texts: &[String], out: &mut dyn Write) -> io::Result<()> {
    let mut is_open = false;
    for (index, text) in texts.iter().enumerate() {
        if is_open {
            out.write_all(b"\n")?;
        }
        if index > 0 && !text.starts_with("---") {
            out.write_all(b"---\n")?;
        }
        out.write_all(text.as_bytes())?;
        is_open = !text.is_empty() && !text.ends_with('\n');
    }
    out.flush()
}

/// Why nothing is printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Read(#[from] manifest::Error),
    #[error(transparent)]
    Inject(#[from] inject::Error),
    #[error("standard output: {0}")]
    Output(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_files_are_one_stream_of_documents() {
        let printed = |texts: &[&str]| {
            let mut out = Vec::new();
            let texts: Vec<_> = texts.iter().map(ToString::to_string).collect();
            print(&texts, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(printed(&["a: 1"]), "a: 1");
        assert_eq!(printed(&["a: 1\n", "---\nb: 1", "{}\n"]), "a: 1\n---\nb: 1\n---\n{}\n");
    }
}
