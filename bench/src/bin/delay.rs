//! A TCP proxy that adds the round-trip time of a distant API server: it accepts connections on loopback and forwards every
//! byte half a round trip later.
//!
//! The proxy completes a TCP handshake at once, which would take a round trip to the distant server, so what the client sends
//! first is forwarded as if it had been sent a round trip after the connection was accepted.
//!
//! `delay HOST PORT ROUND_TRIP`, where ROUND_TRIP is in milliseconds, prints the port that it listens on and then a line for
//! each connection that it accepts.

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use std::{env, thread};

const USAGE: &str = "usage: delay HOST PORT ROUND_TRIP";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [host, port, round_trip] = arguments.as_slice() else { return Err(USAGE.into()) };
    let (port, round_trip) = (port.parse::<u16>()?, Duration::from_millis(round_trip.parse()?));
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    print_line(&listener.local_addr()?.port().to_string())?;
    for near in listener.incoming() {
        let (near, connected) = (near?, Instant::now() + round_trip);
        print_line("connection")?;
        // If the server is unreachable, close the connection.
        let Ok(far) = TcpStream::connect((host.as_str(), port)) else { continue };
        forward(near.try_clone()?, far.try_clone()?, connected, round_trip / 2)?;
        forward(far, near, connected, round_trip / 2)?;
    }
    Ok(())
}

fn print_line(text: &str) -> io::Result<()> {
    println!("{text}");
    io::stdout().flush()
}

/// Forwards one direction. Two threads do that, because a delayed piece must not hold up the next one.
fn forward(from: TcpStream, to: TcpStream, connected: Instant, delay: Duration) -> io::Result<()> {
    // With Nagle's algorithm, a TLS message in two segments would wait for an acknowledgement.
    to.set_nodelay(true)?;
    let (sender, receiver) = channel();
    thread::spawn(move || receive(from, &sender, connected, delay));
    thread::spawn(move || send(to, &receiver));
    Ok(())
}

/// Bytes, and when to send them. No bytes: the end of the stream.
struct Piece {
    bytes: Vec<u8>,
    due: Instant,
}

fn receive(mut from: TcpStream, pieces: &Sender<Piece>, connected: Instant, delay: Duration) {
    let mut buffer = [0; 16384];
    loop {
        let length = from.read(&mut buffer).unwrap_or(0);
        let piece = Piece { bytes: buffer[..length].to_vec(), due: due(Instant::now(), connected, delay) };
        if pieces.send(piece).is_err() || length == 0 {
            return;
        }
    }
}

/// When to forward bytes that the proxy received at a time: no sender has a connection before `connected`.
fn due(received: Instant, connected: Instant, delay: Duration) -> Instant {
    received.max(connected) + delay
}

fn send(mut to: TcpStream, pieces: &Receiver<Piece>) {
    for Piece { bytes, due } in pieces {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if bytes.is_empty() || to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_precedes_the_handshake_waits_for_it() {
        let [accepted, connected, later] = [0, 20, 50].map(|ms| Instant::now() + Duration::from_millis(ms));
        let delay = Duration::from_millis(10);
        assert_eq!(due(accepted, connected, delay), connected + delay);
        assert_eq!(due(later, connected, delay), later + delay);
    }

    #[test]
    fn bytes_and_the_end_of_the_stream_arrive_in_order() -> io::Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let pair = || Ok::<_, io::Error>((TcpStream::connect(listener.local_addr()?)?, listener.accept()?.0));
        let ((mut client, near), (far, mut server)) = (pair()?, pair()?);
        forward(near, far, Instant::now(), Duration::ZERO)?;
        client.write_all(b"one ")?;
        client.write_all(b"two")?;
        client.shutdown(Shutdown::Write)?;
        let mut text = String::new();
        server.read_to_string(&mut text)?;
        assert_eq!(text, "one two");
        Ok(())
    }
}
