//! A process that is killed while it has a store open. Must not know what it wrote.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A child process that says one line and then waits to be killed.
#[derive(Debug)]
pub struct Writer {
    child: Child,
    /// What it said.
    pub line: String,
}

impl Writer {
    /// Starts it and waits for its line.
    ///
    /// # Errors
    ///
    /// What the operating system says; also if it ends without a line.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
        BufReader::new(stdout).read_line(&mut line)?;
        let writer = Self { child, line: line.trim_end().to_owned() };
        if writer.line.is_empty() {
            return Err(io::Error::other("the writing process ended without having written"));
        }
        Ok(writer)
    }

    /// Kills it with `SIGKILL` and waits until it is gone, so that its locks are free.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn kill(mut self) -> io::Result<String> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(std::mem::take(&mut self.line))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a process, and kills it as soon as it has said its line, which is returned.
///
/// # Errors
///
/// As [`Writer::start`] and [`Writer::kill`].
pub fn killed_after_its_line(command: &mut Command) -> io::Result<String> {
    Writer::start(command)?.kill()
}
