//! Owns the cutting of a byte stream into lines in bounded memory, and the moment at which it reads. Must not know what a
//! line means.

use std::io::{self, Read};

/// Bytes asked for at first; the buffer grows up to the longest line that is accepted.
const BUFFER_BYTES: usize = 1024 * 1024;

/// A piece of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A whole line, without its line end (`\n` or `\r\n`).
    Line {
        /// From 1.
        number: u64,
        text: &'a [u8],
        /// As it was read, without the `\n`.
        raw: &'a [u8],
    },
    /// A part of a line that is over the bound; together they are all of it, without the `\n`.
    TooLong { number: u64, raw: &'a [u8], first: bool, last: bool },
}

/// Cuts lines out of a stream. It reads only in [`Lines::fill`], so a caller can hand on what it has before it waits.
#[derive(Debug)]
pub(super) struct Lines<R> {
    source: R,
    line_bytes_max: usize,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Up to here there is no line end.
    searched: usize,
    number: u64,
    /// Within a line that is over the bound.
    too_long: bool,
    at_end: bool,
    bytes_read: u64,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(source: R, line_bytes_max: usize) -> Self {
        Self {
            source,
            line_bytes_max,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            searched: 0,
            number: 0,
            too_long: false,
            at_end: false,
            bytes_read: 0,
        }
    }

    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at_end
    }

    /// The next piece that is there without reading.
    pub(super) fn buffered(&mut self) -> Option<Piece<'_>> {
        let found = self.buffer[self.searched..self.end].iter().position(|byte| *byte == b'\n');
        let line_end = found.map(|offset| self.searched + offset);
        self.searched = line_end.unwrap_or(self.end);
        let waiting = self.end - self.start;
        match line_end {
            Some(line_end) => Some(self.take(line_end, line_end + 1, true)),
            None if self.at_end && (waiting > 0 || self.too_long) => {
                Some(self.take(self.end, self.end, true))
            }
            // Room for the `\r` of a line that is just within the bound.
            None if waiting > self.line_bytes_max.saturating_add(1) || (self.too_long && waiting > 0) => {
                Some(self.take(self.end, self.end, false))
            }
            None => None,
        }
    }

    /// Takes `start..until` out, to go on at `next`.
    fn take(&mut self, until: usize, next: usize, last: bool) -> Piece<'_> {
        let raw = &self.buffer[self.start..until];
        let text = raw.strip_suffix(b"\r").unwrap_or(raw);
        let first = !self.too_long;
        if first {
            self.number += 1;
        }
        self.start = next;
        self.searched = next;
        self.too_long = !last;
        if first && last && text.len() <= self.line_bytes_max {
            return Piece::Line { number: self.number, text, raw };
        }
        Piece::TooLong { number: self.number, raw, first, last }
    }

    /// Reads what is there, waiting if there is nothing. At the end of the input, [`Lines::buffered`] then gives the last
    /// line, if that has no line end.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.searched -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let read = loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.at_end = read == 0;
        self.end += read;
        self.bytes_read += u64::try_from(read).unwrap_or_default();
        Ok(())
    }
}
