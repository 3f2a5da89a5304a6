//! A TCP proxy that makes an API server unresponsive on demand: it accepts connections on loopback and forwards every byte.
//! While it is stopped with SIGSTOP, the kernel still accepts connections and data, but no response comes.
//!
//! `forward HOST PORT` prints the port that it listens on.

use std::error::Error;
use std::io::{self, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::{env, thread};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let usage = "usage: forward HOST PORT";
    let host = arguments.next().ok_or(usage)?;
    let port: u16 = arguments.next().ok_or(usage)?.parse()?;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    println!("{}", listener.local_addr()?.port());
    io::stdout().flush()?;
    for near in listener.incoming() {
        let near = near?;
        // If the server is unreachable, close the connection.
        let Ok(far) = TcpStream::connect((host.as_str(), port)) else { continue };
        both_ways(near, far)?;
    }
    Ok(())
}

fn both_ways(near: TcpStream, far: TcpStream) -> io::Result<()> {
    // With Nagle's algorithm, a TLS message in two segments would wait for an acknowledgement.
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_again, far_again) = (near.try_clone()?, far.try_clone()?);
    thread::spawn(move || pass(near, far));
    thread::spawn(move || pass(far_again, near_again));
    Ok(())
}

/// Copies one direction. At its end it closes both directions.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
