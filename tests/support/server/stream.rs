//! Sends a watch: a chunked response whose thread sleeps until something changes.

use std::io;
use std::time::Instant;

use super::Shared;
use super::connection::{After, Connection};
use super::faults::{LAST_CHUNK, write_filled, write_piece};
use super::http::{Answer, Framing};
use super::watches::Step;

/// Sends the watch registered for this connection until it ends.
pub(super) fn send(shared: &Shared, connection: &mut Connection) -> io::Result<After> {
    let after = send_until_end(shared, connection);
    shared.cluster().watches.close(connection.number());
    after
}

fn send_until_end(shared: &Shared, connection: &mut Connection) -> io::Result<After> {
    loop {
        match next_step(shared, connection.number()) {
            Step::Head => connection.write(&Answer::text(200, "").head(Framing::Chunked))?,
            Step::Send(bytes) => write_piece(&bytes, Framing::Chunked, connection)?,
            Step::SendFilled { start, bytes, end } => {
                write_filled(&start, bytes, end, Framing::Chunked, connection)?;
            }
            Step::End => {
                connection.write(LAST_CHUNK)?;
                return Ok(After::KeepAlive);
            }
            Step::Close => return Ok(After::Cut),
            Step::Reset => return Ok(After::Reset),
            Step::Wait { .. } => {}
        }
    }
}

/// Sleeps until the watch has a step to perform.
fn next_step(shared: &Shared, number: usize) -> Step {
    let mut cluster = shared.cluster();
    loop {
        let until = match cluster.next_step(number, Instant::now()) {
            Step::Wait { until } => until,
            step => return step,
        };
        cluster = match until {
            None => shared.changed.wait(cluster).unwrap(),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                shared.changed.wait_timeout(cluster, left).unwrap().0
            }
        };
    }
}
