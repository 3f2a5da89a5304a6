//! The buffers of a connection. They exist while they hold something: a watch waits for hours, and ureq's own buffers stay as large as
//! they have been. What they held is overwritten, because it may be a token or the value of a Secret.

use ureq::unversioned::transport::Buffers;
use zeroize::Zeroize;

/// The most bytes that one read adds: a TLS record.
const INPUT: usize = 16 * 1024;
/// The most bytes that one write sends: a request with its token.
const OUTPUT: usize = 8 * 1024;

/// Buffers that are freed when they are empty.
#[derive(Default)]
pub(super) struct TransientBuffers {
    /// Received bytes; those before `start` are consumed, those from `end` on are free.
    input: Vec<u8>,
    start: usize,
    end: usize,
    output: Vec<u8>,
    is_consumed: bool,
}

impl TransientBuffers {
    /// Makes room for `wanted` bytes after those that are not consumed, up to a limit for each read.
    pub(super) fn reserve(&mut self, wanted: usize) {
        let kept = self.input().len();
        let needed = kept + wanted.min(INPUT);
        if self.input.len() - self.end >= needed - kept {
            return;
        }
        let mut larger = vec![0; needed];
        larger[..kept].copy_from_slice(self.input());
        self.free_input();
        (self.input, self.end) = (larger, kept);
    }

    /// The bytes that were last sent are not needed any more.
    pub(super) fn free_output(&mut self) {
        // As a slice, which zeroize overwrites at once; it overwrites a Vec byte by byte.
        self.output.as_mut_slice().zeroize();
        self.output = Vec::new();
    }

    fn free_input(&mut self) {
        self.input[..self.end].zeroize();
        self.input = Vec::new();
        (self.start, self.end) = (0, 0);
    }
}

impl Buffers for TransientBuffers {
    fn output(&mut self) -> &mut [u8] {
        if self.output.is_empty() {
            self.output = vec![0; OUTPUT];
        }
        &mut self.output
    }

    fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        &mut self.input[self.end..]
    }

    fn input_appended(&mut self, amount: usize) {
        self.end += amount;
    }

    fn input_consume(&mut self, amount: usize) {
        self.is_consumed = amount > 0;
        self.start += amount;
        if self.start == self.end {
            self.free_input();
        }
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.reserve(INPUT);
        self.output();
        (&mut self.input[self.end..], &mut self.output)
    }

    fn can_use_input(&self) -> bool {
        self.is_consumed && !self.input().is_empty()
    }
}

impl Drop for TransientBuffers {
    fn drop(&mut self) {
        self.free_input();
        self.free_output();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(buffers: &mut TransientBuffers, bytes: &[u8]) {
        buffers.reserve(bytes.len());
        buffers.input_append_buf()[..bytes.len()].copy_from_slice(bytes);
        buffers.input_appended(bytes.len());
    }

    #[test]
    fn buffers_are_freed_when_they_are_empty() {
        let mut buffers = TransientBuffers::default();
        receive(&mut buffers, b"one");
        buffers.input_consume(2);
        receive(&mut buffers, b"two");
        assert_eq!(buffers.input(), b"etwo");
        assert!(buffers.can_use_input());
        buffers.input_consume(0);
        assert!(!buffers.can_use_input(), "more must be received first");
        buffers.input_consume(4);
        assert_eq!((buffers.input.capacity(), buffers.input().len()), (0, 0));
        assert_eq!(buffers.output().len(), OUTPUT);
        buffers.free_output();
        assert_eq!(buffers.output.capacity(), 0);
    }

    #[test]
    fn one_read_adds_at_most_a_tls_record() {
        let mut buffers = TransientBuffers::default();
        buffers.reserve(usize::MAX);
        assert_eq!(buffers.input_append_buf().len(), INPUT);
        buffers.input_appended(INPUT);
        buffers.reserve(1);
        assert_eq!(buffers.input_append_buf().len(), 1);
    }
}
