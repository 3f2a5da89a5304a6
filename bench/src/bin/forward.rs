//! A way to an API server that can be cut: takes connections on loopback and passes them on, byte for byte. Stopped with SIGSTOP
//! it is a black hole: the kernel still takes connections and what is sent on them, and nobody answers.
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
        // One that finds no server is closed.
        let Ok(far) = TcpStream::connect((host.as_str(), port)) else { continue };
        both_ways(near, far)?;
    }
    Ok(())
}

fn both_ways(near: TcpStream, far: TcpStream) -> io::Result<()> {
    // Without this, what TLS sends in two pieces would wait for an acknowledgement.
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_again, far_again) = (near.try_clone()?, far.try_clone()?);
    thread::spawn(move || pass(near, far));
    thread::spawn(move || pass(far_again, near_again));
    Ok(())
}

/// What ends in one direction ends in the other.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
