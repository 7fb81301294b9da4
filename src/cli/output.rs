//! Standard output: buffered, and a closed pipe told from a failure. Must not know what is written.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use super::failure::Failure;

/// Standard output. What isn't flushed before it is dropped may be lost without a word, so commands end with
/// [`Output::finish`].
pub(super) struct Output(BufWriter<Stdout>);

impl Output {
    pub(super) fn new() -> Self {
        Self(BufWriter::with_capacity(1 << 16, io::stdout()))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.0.write_all(bytes).map_err(|error| failed(&error))
    }

    pub(super) fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.write(line.as_bytes())?;
        self.write(b"\n")
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(|error| failed(&error))
    }

    /// Writes a value as one line of JSON.
    pub(super) fn json(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value)
            .map_err(|error| Failure::Other(format!("cannot be written as JSON: {error}")))?;
        self.line(&text)
    }

    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.flush()
    }
}

fn failed(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::ClosedPipe;
    }
    Failure::Other(format!("cannot write to standard output: {error}"))
}

/// What standard output can show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Screen {
    /// How many columns there are; none where it isn't a terminal.
    pub(super) columns: Option<usize>,
    pub(super) colour: bool,
}

impl Screen {
    pub(super) fn detect() -> Self {
        if !io::stdout().is_terminal() {
            return Self { columns: None, colour: false };
        }
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let columns = terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0));
        Self { columns: Some(columns.max(20)), colour: !no_colour && !dumb }
    }
}
