//! Owns the import's driver: lines in, batches of events out, counts, rejected lines and acknowledgements. Must not know
//! the store, the command line or any format.

use std::io::{self, Read};
use std::num::NonZeroUsize;

use super::lines::{Lines, Piece};
use super::{Decoder, LineError, Parsed};
use crate::event::NewEvent;

const LINE_BYTES_MAX: usize = 1024 * 1024;
const BATCH_EVENTS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999);

/// Where events go.
pub trait Sink {
    /// What the sink gives back for each event once it is acknowledged.
    type Ack;
    /// Why it couldn't take them.
    type Error;

    /// Takes a batch, never an empty one, and gives one acknowledgement for each event, in the same order. Must return
    /// only when all of them are acknowledged.
    ///
    /// # Errors
    /// Ends the import. What was acknowledged nevertheless is in the [`Refused`], and counts as accepted.
    fn append_batch(&mut self, events: &[NewEvent<'static>]) -> Taken<Self::Ack, Self::Error>;
}

/// What became of a batch: an acknowledgement for each event, or why not all of them have one.
pub type Taken<A, E> = Result<Vec<A>, Refused<A, E>>;

/// A batch that a sink didn't take as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused<A, E> {
    /// For each event of the batch, in the same order, its acknowledgement if it has one. May be empty: none has.
    pub acks: Vec<Option<A>>,
    /// Why the others were not taken.
    pub error: E,
}

impl<A, E> Refused<A, E> {
    /// Nothing of the batch is acknowledged.
    pub fn whole(error: E) -> Self {
        Self { acks: Vec::new(), error }
    }
}

/// Is told what became of each line. Everything is in the order of the input; an error of any of these ends the import.
#[expect(
    unused_variables,
    reason = "the names of parameters are documentation; by default nothing is done with them"
)]
pub trait Observer<Ack> {
    /// A line is rejected; its bytes follow in [`Observer::rejected_bytes`].
    ///
    /// # Errors
    /// Ends the import.
    fn rejected(&mut self, line: u64, error: &LineError) -> io::Result<()> {
        Ok(())
    }

    /// Bytes of the line that was rejected last, as they were read, in one or more pieces; the last one ends with `\n`,
    /// also where the input's last line doesn't. Written to a file, these are the rejected lines and nothing else.
    ///
    /// # Errors
    /// Ends the import.
    fn rejected_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    /// An event of this line is acknowledged. A line with a repeated message has several.
    ///
    /// # Errors
    /// Ends the import.
    fn acknowledged(&mut self, line: u64, ack: Ack) -> io::Result<()> {
        Ok(())
    }

    /// Comes after each batch, and before the importer may wait for input with everything done that was read: the moment
    /// to flush, and to show progress.
    ///
    /// # Errors
    /// Ends the import.
    fn flush(&mut self, summary: &Summary) -> io::Result<()> {
        Ok(())
    }
}

/// What an import has done. `lines = blank + ignored + rejected + event_lines`, up to where it got.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Summary {
    /// Events that the sink has acknowledged.
    pub accepted: u64,
    /// Lines that were rejected.
    pub rejected: u64,
    /// Good lines that are no security event.
    pub ignored: u64,
    /// Lines that were empty or held nothing but white space.
    pub blank: u64,
    /// Lines that gave events.
    pub event_lines: u64,
    /// Lines in all.
    pub lines: u64,
    /// Bytes read.
    pub bytes: u64,
}

/// Why an import ended before its input did. What was acknowledged until then is in [`Importer::summary`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError<E> {
    /// The input can't be read. All lines before the failure were handed on.
    #[error("the input can't be read")]
    Read(#[source] io::Error),
    /// The sink has refused a batch.
    #[error(transparent)]
    Sink(E),
    /// The observer has failed, such as by a closed pipe.
    #[error("the result of the import can't be written")]
    Observer(#[source] io::Error),
    /// The sink is at fault: it must acknowledge each event.
    #[error("{events} events were handed to the store, {acknowledged} came back")]
    Unacknowledged {
        /// Events in the batch.
        events: usize,
        /// Acknowledgements for it.
        acknowledged: usize,
    },
}

/// Reads lines as a stream and hands their events on, in batches of what is there now and never more than a bound: before
/// it waits for input, everything that was read is handed on, so that a pipe that stays open works. Memory is bounded by
/// one batch and the longest line.
#[derive(Debug)]
pub struct Importer {
    batch_events_max: NonZeroUsize,
    line_bytes_max: usize,
    summary: Summary,
}

impl Default for Importer {
    fn default() -> Self {
        Self::new()
    }
}

impl Importer {
    /// Batches of at most 1,000 events, lines of at most 1 MiB.
    pub fn new() -> Self {
        Self {
            batch_events_max: BATCH_EVENTS_MAX,
            line_bytes_max: LINE_BYTES_MAX,
            summary: Summary::default(),
        }
    }

    /// The most events that are handed on at once.
    #[must_use]
    pub fn batch_events_max(mut self, events: NonZeroUsize) -> Self {
        self.batch_events_max = events;
        self
    }

    /// The longest line that is accepted, in bytes without its line end. A longer one is rejected, and read past without
    /// being held in memory.
    #[must_use]
    pub fn line_bytes_max(mut self, bytes: usize) -> Self {
        self.line_bytes_max = bytes;
        self
    }

    /// The counts so far; they go on over several runs.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Reads `source` to its end. Lines end with `\n` or `\r\n`; the last one may lack it. Blank lines are skipped, and a
    /// byte order mark at the start of the input. A line that `decoder` rejects is reported and never stops the others.
    ///
    /// # Errors
    /// When the input can't be read, the sink refuses a batch or the observer fails.
    pub fn run<R: Read, D: Decoder, S: Sink, O: Observer<S::Ack>>(
        &mut self,
        source: R,
        decoder: &mut D,
        sink: &mut S,
        observer: &mut O,
    ) -> Result<(), ImportError<S::Error>> {
        let mut lines = Lines::new(source, self.line_bytes_max);
        let bytes_before = self.summary.bytes;
        let mut batch = Batch { events: Vec::new(), lines: Vec::new() };
        let mut run = Run { importer: self, batch: &mut batch, decoder, sink, observer };
        loop {
            while let Some(piece) = lines.buffered() {
                run.piece(&piece)?;
            }
            run.hand_on()?;
            run.flush()?;
            if lines.is_at_end() {
                return Ok(());
            }
            lines.fill().map_err(ImportError::Read)?;
            run.importer.summary.bytes = bytes_before + lines.bytes_read();
        }
    }
}

/// Events that wait to be handed on, and the lines that they are from.
struct Batch {
    events: Vec<NewEvent<'static>>,
    lines: Vec<u64>,
}

struct Run<'a, D, S, O> {
    importer: &'a mut Importer,
    batch: &'a mut Batch,
    decoder: &'a mut D,
    sink: &'a mut S,
    observer: &'a mut O,
}

impl<D: Decoder, S: Sink, O: Observer<S::Ack>> Run<'_, D, S, O> {
    fn piece(&mut self, piece: &Piece<'_>) -> Result<(), ImportError<S::Error>> {
        match *piece {
            Piece::Line { number, text, raw } => self.line(number, text, raw),
            Piece::TooLong { number, raw, first, last } => {
                if first {
                    let bytes_max = self.importer.line_bytes_max;
                    self.importer.summary.lines += 1;
                    self.reject(number, &LineError::TooLong { bytes_max })?;
                }
                self.rejected_bytes(raw, last)
            }
        }
    }

    fn line(&mut self, number: u64, text: &[u8], raw: &[u8]) -> Result<(), ImportError<S::Error>> {
        self.importer.summary.lines += 1;
        let text = if number == 1 { text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text) } else { text };
        if text.trim_ascii().is_empty() {
            self.importer.summary.blank += 1;
            return Ok(());
        }
        match self.decoder.decode(text) {
            Ok(Parsed::Event { event, times }) => {
                self.importer.summary.event_lines += 1;
                self.events(number, *event, times)
            }
            Ok(Parsed::Ignored) => {
                self.importer.summary.ignored += 1;
                Ok(())
            }
            Err(error) => {
                self.reject(number, &error)?;
                self.rejected_bytes(raw, true)
            }
        }
    }

    fn events(
        &mut self,
        number: u64,
        event: NewEvent<'static>,
        times: u32,
    ) -> Result<(), ImportError<S::Error>> {
        for _ in 1..times {
            self.event(number, event.clone())?;
        }
        self.event(number, event)
    }

    fn event(&mut self, number: u64, event: NewEvent<'static>) -> Result<(), ImportError<S::Error>> {
        self.batch.events.push(event);
        self.batch.lines.push(number);
        if self.batch.events.len() >= self.importer.batch_events_max.get() {
            self.hand_on()?;
        }
        Ok(())
    }

    fn hand_on(&mut self) -> Result<(), ImportError<S::Error>> {
        let events = self.batch.events.len();
        if events == 0 {
            return Ok(());
        }
        match self.sink.append_batch(&self.batch.events) {
            Ok(acks) if acks.len() != events => {
                Err(ImportError::Unacknowledged { events, acknowledged: acks.len() })
            }
            Ok(acks) => self.acknowledge(acks.into_iter().map(Some)),
            Err(Refused { acks, error }) => {
                self.acknowledge(acks.into_iter())?;
                Err(ImportError::Sink(error))
            }
        }
    }

    /// Counts and reports what of the batch is acknowledged, and is done with the batch.
    fn acknowledge(
        &mut self,
        acks: impl Iterator<Item = Option<S::Ack>>,
    ) -> Result<(), ImportError<S::Error>> {
        self.batch.events.clear();
        let acknowledged: Vec<(u64, S::Ack)> =
            self.batch.lines.drain(..).zip(acks).filter_map(|(line, ack)| Some((line, ack?))).collect();
        self.importer.summary.accepted += u64::try_from(acknowledged.len()).unwrap_or_default();
        for (line, ack) in acknowledged {
            self.observer.acknowledged(line, ack).map_err(ImportError::Observer)?;
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), ImportError<S::Error>> {
        self.observer.flush(&self.importer.summary).map_err(ImportError::Observer)
    }

    fn reject(&mut self, number: u64, error: &LineError) -> Result<(), ImportError<S::Error>> {
        self.importer.summary.rejected += 1;
        self.observer.rejected(number, error).map_err(ImportError::Observer)
    }

    fn rejected_bytes(&mut self, raw: &[u8], last: bool) -> Result<(), ImportError<S::Error>> {
        let bytes = self.observer.rejected_bytes(raw);
        let end = if last { bytes.and_then(|()| self.observer.rejected_bytes(b"\n")) } else { bytes };
        end.map_err(ImportError::Observer)
    }
}
