//! The open watches: decides what each sends next; `stream` sends it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::faults::WatchFault;
use super::history::{Event, FellBehind};
use super::objects::{ObjectRef, Objects};
use super::watch::{Watch, error};

/// The longest interval between two bytes of a dripping line.
const MAX_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// All watches by connection number.
#[derive(Default)]
pub(super) struct Watches {
    streams: BTreeMap<usize, Stream>,
    muted: bool,
    stopped: bool,
}

/// The next step of a watch's thread.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send the head of the response.
    Head,
    /// Send these bytes as one chunk.
    Send(Vec<u8>),
    /// Send exactly this many bytes, beginning with `start` and ending with `end`.
    SendFilled { start: String, bytes: u64, end: &'static str },
    /// Send the last chunk.
    End,
    /// Send FIN.
    Close,
    /// Send RST.
    Reset,
    /// Wait for a change, or until this time.
    Wait { until: Option<Instant> },
}

impl Watches {
    /// Adds a watch.
    pub(super) fn open(&mut self, connection: usize, watch: Watch, objects: &Objects) {
        self.streams.insert(connection, Stream::new(watch, objects));
    }

    /// Removes a watch when its thread is done.
    pub(super) fn close(&mut self, connection: usize) {
        self.streams.remove(&connection);
    }

    /// The connections of all watches that have not ended.
    pub(super) fn connections(&self) -> Vec<usize> {
        self.streams.iter().filter(|(_, stream)| !stream.dismissed).map(|(number, _)| *number).collect()
    }

    /// Whether a watch has changes to send.
    pub(super) fn are_behind(&self, objects: &Objects) -> bool {
        let mut open = self.streams.values().filter(|stream| !stream.dismissed);
        open.any(|stream| !matches!(objects.history().after(stream.position, &stream.watch.object), Ok(None)))
    }

    /// Ends the watches of these connections, which are broken already.
    pub(super) fn dismiss(&mut self, connections: &[usize]) {
        for number in connections {
            if let Some(stream) = self.streams.get_mut(number) {
                stream.dismissed = true;
            }
        }
    }

    /// Ends all watches, including future ones until called with `false`.
    pub(super) fn stop(&mut self, stopped: bool) {
        self.stopped = stopped;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn mute(&mut self, muted: bool) {
        self.muted = muted;
    }

    pub(super) fn spoil(&mut self, fault: &WatchFault, matches: impl Fn(&ObjectRef) -> bool) {
        for stream in self.streams.values_mut().filter(|stream| matches(&stream.watch.object)) {
            stream.faults.push_back(fault.clone());
        }
    }

    pub(super) fn bookmark(&mut self, version: u64) {
        for stream in self.streams.values_mut().filter(|stream| stream.watch.bookmarks) {
            stream.bookmarks.push_back(version);
        }
    }

    /// The next step of the watch on this connection.
    pub(super) fn next_step(&mut self, connection: usize, objects: &Objects, now: Instant) -> Step {
        match self.streams.get_mut(&connection) {
            Some(stream) if !stream.dismissed && !self.stopped => {
                if self.muted {
                    Step::Wait { until: None }
                } else {
                    stream.next_step(objects, now)
                }
            }
            _ => Step::Close,
        }
    }
}

/// What a watch sends before it first waits, and a bookmark: the complete response to which a fault is applied.
pub(super) fn at_once(watch: Watch, objects: &Objects) -> Vec<u8> {
    let mut stream = Stream::new(watch, objects);
    stream.bookmarks.push_back(objects.history().version());
    let mut body: Vec<u8> = stream.first.take().unwrap_or_default();
    while let Ok(Some(line)) = stream.next_line(objects) {
        body.extend(line);
    }
    body
}

/// A watch and its progress.
struct Stream {
    watch: Watch,
    ends: Instant,
    head_sent: bool,
    /// Sent before everything else.
    first: Option<Vec<u8>>,
    /// All changes up to this version have been sent.
    position: u64,
    /// The versions of pending bookmarks.
    bookmarks: VecDeque<u64>,
    faults: VecDeque<WatchFault>,
    /// The fault for the next event.
    drip_next: Option<Duration>,
    drip: Option<Drip>,
    /// Whether the next event stalls.
    stall_next: bool,
    /// Whether nothing is sent any more.
    is_stalled: bool,
    /// The peer has left, or the server has broken the connection.
    dismissed: bool,
}

/// A line that is being sent one byte at a time.
struct Drip {
    left: VecDeque<u8>,
    interval: Duration,
    next: Instant,
}

impl Stream {
    fn new(watch: Watch, objects: &Objects) -> Self {
        let now = Instant::now();
        let expired = watch.expired(objects);
        // For an expired version the watch cache sends one `ERROR` event and closes.
        let ends = if expired.is_some() { now } else { now + watch.timeout };
        let first = match (expired, watch.from) {
            (Some(message), _) => Some(error(410, &message)),
            (None, None) => watch.present(Event::Added, objects),
            (None, Some(_)) => None,
        };
        Self {
            ends,
            head_sent: false,
            first,
            position: watch.from.unwrap_or(objects.history().version()),
            bookmarks: VecDeque::new(),
            faults: VecDeque::new(),
            drip_next: None,
            drip: None,
            stall_next: false,
            is_stalled: false,
            dismissed: false,
            watch,
        }
    }

    fn next_step(&mut self, objects: &Objects, now: Instant) -> Step {
        if !self.head_sent {
            self.head_sent = true;
            return Step::Head;
        }
        if self.is_stalled {
            return Step::Wait { until: None };
        }
        while let Some(fault) = self.faults.pop_front() {
            if let Some(step) = self.spoil(fault, objects, now) {
                return step;
            }
        }
        if let Some(step) = self.next_of_drip(now) {
            return step;
        }
        if let Some(line) = self.first.take() {
            return self.send(line, now);
        }
        if now >= self.ends {
            return Step::End;
        }
        match self.next_line(objects) {
            Ok(Some(line)) => self.send(line, now),
            Ok(None) => Step::Wait { until: Some(self.ends) },
            // kube-apiserver also ends watches that fall behind.
            Err(FellBehind) => Step::End,
        }
    }

    /// `None` if the fault applies to a later event.
    fn spoil(&mut self, fault: WatchFault, objects: &Objects, now: Instant) -> Option<Step> {
        let version = objects.history().version();
        match fault {
            WatchFault::Reset => Some(Step::Reset),
            WatchFault::Close => Some(Step::Close),
            WatchFault::End => Some(Step::End),
            WatchFault::BrokenLine => {
                let whole = self.watch.present(Event::Modified, objects);
                let mut line = whole.unwrap_or_else(|| self.watch.bookmark(version));
                line.truncate(line.len() / 2);
                line.push(b'\n');
                Some(Step::Send(line))
            }
            WatchFault::OversizedLine { bytes } => {
                let (start, end) = self.watch.around_filler(version);
                Some(Step::SendFilled { start, bytes: bytes.saturating_add(1), end })
            }
            WatchFault::DripLine { interval } => {
                self.drip_next = Some(interval.min(MAX_INTERVAL));
                None
            }
            WatchFault::StallLine => {
                self.stall_next = true;
                None
            }
            WatchFault::ErrorEvent { code, message } => {
                self.first = Some(error(code, &message));
                self.ends = now;
                None
            }
        }
    }

    fn send(&mut self, mut line: Vec<u8>, now: Instant) -> Step {
        if self.stall_next {
            self.is_stalled = true;
            line.truncate(line.len() / 2);
            return Step::Send(line);
        }
        let Some(interval) = self.drip_next.take() else { return Step::Send(line) };
        self.drip = Some(Drip { left: line.into(), interval, next: now });
        self.next_of_drip(now).unwrap_or(Step::Wait { until: Some(now) })
    }

    /// `None` if no line is dripping.
    fn next_of_drip(&mut self, now: Instant) -> Option<Step> {
        let drip = self.drip.as_mut()?;
        if now < drip.next {
            return Some(Step::Wait { until: Some(drip.next) });
        }
        let Some(byte) = drip.left.pop_front() else {
            self.drip = None;
            return None;
        };
        drip.next = now + drip.interval;
        Some(Step::Send(vec![byte]))
    }

    /// The next change or bookmark, in order of version.
    fn next_line(&mut self, objects: &Objects) -> Result<Option<Vec<u8>>, FellBehind> {
        let bookmark = self.bookmarks.front().copied();
        let change = objects.history().after(self.position, &self.watch.object)?;
        if let Some(change) = change.filter(|change| bookmark.is_none_or(|version| change.version <= version))
        {
            self.position = change.version;
            return Ok(Some(self.watch.event(change.event, &change.state)));
        }
        self.position = self.position.max(bookmark.unwrap_or(objects.history().version()));
        self.bookmarks.pop_front();
        Ok(bookmark.map(|version| self.watch.bookmark(version)))
    }
}
