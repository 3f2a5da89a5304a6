//! The body of a response. Only a few large ones are in memory at the same time, because all objects of a pod may be read at once.

use std::io::{ErrorKind, Read};
use std::ops::Deref;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ureq::Body;
use zeroize::Zeroizing;

use crate::kube::error::Cause;
use crate::secret::{SecretBuffer, SecretBytes};
use crate::thread::semaphore::{Permit, Semaphore};

/// The largest body, in bytes. etcd stores objects of up to 1.5 MiB; a pod's metadata may include `managedFields`.
const LIMIT: usize = 4 * 1024 * 1024;
/// The largest body that needs no permit, in bytes.
const SMALL: usize = 64 * 1024;
/// The bytes per read.
const CHUNK: usize = 8 * 1024;

/// The bytes of a body. A large one keeps its permit until it is dropped, after it is decoded.
pub(crate) struct Content {
    bytes: SecretBytes,
    _permit: Option<Permit>,
}

impl Content {
    /// The bytes alone, for callers that read one object after the other.
    pub(super) fn into_bytes(self) -> SecretBytes {
        self.bytes
    }
}

impl Deref for Content {
    type Target = SecretBytes;

    fn deref(&self) -> &SecretBytes {
        &self.bytes
    }
}

/// Reads a body. A large one waits for a permit, for at most `within`. `failed` makes the cause of an error of the connection.
pub(super) fn read(
    body: Body,
    permits: &Semaphore,
    within: Duration,
    failed: &dyn Fn(&ureq::Error) -> Cause,
) -> Result<Content, Cause> {
    let announced = body.content_length().unwrap_or(0);
    if announced > LIMIT as u64 {
        return Err(Cause::TooLarge { limit: LIMIT });
    }
    let acquire = || {
        let permit = permits.acquire(within, &AtomicBool::new(false));
        permit.ok_or_else(|| failed(&ureq::Error::Timeout(ureq::Timeout::RecvBody)))
    };
    let mut permit = if announced > SMALL as u64 { Some(acquire()?) } else { None };
    // Buffers are zeroed in the end, byte by byte, so a small response gets small ones. One of unknown length is usually a list.
    let room = usize::try_from(announced).ok().filter(|room| *room > 0).unwrap_or(CHUNK);
    let mut buffer = SecretBuffer::with_capacity(room);
    let mut reader = body.into_reader();
    let mut chunk = Zeroizing::new(vec![0; room.min(CHUNK)]);
    loop {
        match reader.read(chunk.as_mut_slice()) {
            Ok(0) => return Ok(Content { bytes: buffer.finish(), _permit: permit }),
            Ok(count) if buffer.len() + count > LIMIT => return Err(Cause::TooLarge { limit: LIMIT }),
            Ok(count) => {
                if permit.is_none() && buffer.len() + count > SMALL {
                    permit = Some(acquire()?);
                }
                buffer.push(&chunk[..count]);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(&ureq::Error::from(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_with(permits: &Semaphore, size: usize) -> Result<Content, Cause> {
        let body = Body::builder().data(vec![b'x'; size]);
        read(body, permits, Duration::ZERO, &|error| Cause::unreadable(error.to_string()))
    }

    #[test]
    fn a_large_body_has_a_permit_until_it_is_dropped() {
        let permits = Semaphore::new(1);
        let large = read_with(&permits, SMALL + 1).unwrap();
        assert_eq!(large.expose().len(), SMALL + 1);
        let Err(error) = read_with(&permits, SMALL + 1) else { panic!("there is a permit left") };
        assert!(error.to_string().contains("timeout"), "{error}");
        assert!(read_with(&permits, SMALL).is_ok(), "a small body needs no permit");
        drop(large);
        assert!(read_with(&permits, SMALL + 1).is_ok());
    }

    #[test]
    fn a_body_beyond_the_limit_is_rejected() {
        let permits = Semaphore::new(1);
        assert!(read_with(&permits, LIMIT).is_ok());
        assert!(matches!(read_with(&permits, LIMIT + 1), Err(Cause::TooLarge { limit: LIMIT })));
    }
}
