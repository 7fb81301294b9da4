//! `usertrail ingest`: lines in, events stored, acknowledgements out. Must not know what a line means, nor how a store
//! keeps it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::args::{Format, IngestArgs};
use super::failure::{Exit, Failure, complain};
use super::output::Output;
use super::progress::Progress;
use super::reading::tell_recovery;
use crate::event::UnknownMembers;
use crate::exchange::authlog::Parser;
use crate::exchange::{
    Decoder, ImportError, Importer, JsonLines, LineError, Observer, Parsed, Refused, Sink, Summary, Taken,
};
use crate::{BatchError, Durability, Error, NewEvent, Receipt, Store, Timestamp};

pub(super) fn run(args: &IngestArgs) -> Result<Exit, Failure> {
    let mut decoder = decoder(args)?;
    let input = Input::open(&args.file)?;
    if let Some(rejects) = &args.rejects {
        input.is_not(rejects)?;
    }
    let store = open(args)?;
    let rejects = args.rejects.as_deref().map(Rejects::create).transpose()?;
    let mut importer = Importer::new().batch_events_max(args.batch);
    let progress = Progress::new(input.length);
    let acks = args.ack.then(Output::new);
    let mut report = Report { acks, rejects, progress, failure: None };
    let outcome = importer.run(input.file, &mut decoder, &mut StoreSink(&store), &mut report);
    let failure = report.failure.take();
    drop(report);
    let closed = store.close();

    let summary = importer.summary();
    if args.json {
        let mut output = Output::new();
        output.json(summary)?;
        output.finish()?;
    }
    outcome.map_err(|error| failure.unwrap_or_else(|| told(error, summary)))?;
    closed?;
    Ok(if summary.rejected > 0 { Exit::Rejected } else { Exit::Fine })
}

/// The decoder that the format names.
enum AnyDecoder {
    Jsonl(JsonLines),
    Authlog(Box<Parser>),
}

impl Decoder for AnyDecoder {
    fn decode(&mut self, line: &[u8]) -> Result<Parsed, LineError> {
        match self {
            Self::Jsonl(lines) => lines.decode(line),
            Self::Authlog(parser) => parser.decode(line),
        }
    }
}

fn decoder(args: &IngestArgs) -> Result<AnyDecoder, Failure> {
    match args.format {
        Format::Jsonl if args.year.is_some() => {
            Err(Failure::Usage("--year is for --format authlog".to_owned()))
        }
        Format::Authlog if args.unknown_to_details => {
            Err(Failure::Usage("--unknown-to-details is for --format jsonl".to_owned()))
        }
        Format::Jsonl => {
            let unknown =
                if args.unknown_to_details { UnknownMembers::ToDetails } else { UnknownMembers::Reject };
            Ok(AnyDecoder::Jsonl(JsonLines::new(unknown)))
        }
        Format::Authlog => {
            let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let now = i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX);
            Ok(AnyDecoder::Authlog(Box::new(Parser::new(args.year, Timestamp::from_micros(now)))))
        }
    }
}

/// Opens the store, or makes it; what the arguments say of a new store must hold for one that is there.
fn open(args: &IngestArgs) -> Result<Store, Failure> {
    let store = args.new.options().create_if_missing(true).open(&args.data)?;
    tell_recovery(store.recovery());
    let shards = store.shard_count();
    let other =
        |what: String| Failure::Other(format!("{what}, which is fixed for life: {}", args.data.display()));
    if args.new.shards.is_some_and(|asked| asked != shards) {
        return Err(other(format!("the store has {shards} shards")));
    }
    if args.new.name.as_deref().is_some_and(|asked| asked != store.name()) {
        return Err(other(format!("the store's name is {}", store.name())));
    }
    Ok(store)
}

/// Where the lines come from.
struct Input {
    file: File,
    /// For progress; a pipe has none.
    length: Option<u64>,
}

impl Input {
    fn open(path: &Path) -> Result<Self, Failure> {
        let opened = if path == Path::new("-") {
            io::stdin().as_fd().try_clone_to_owned().map(File::from)
        } else {
            File::open(path)
        };
        let file = opened.map_err(|error| Failure::file("open", path, &error))?;
        let metadata = file.metadata().map_err(|error| Failure::file("examine", path, &error))?;
        if metadata.is_dir() {
            return Err(Failure::Other(format!("cannot read {}: it is a directory", path.display())));
        }
        let length = metadata.is_file().then_some(metadata.len());
        Ok(Self { file, length })
    }

    /// Writing rejected lines to the input itself would destroy it.
    fn is_not(&self, path: &Path) -> Result<(), Failure> {
        let (Ok(own), Ok(other)) = (self.file.metadata(), path.metadata()) else { return Ok(()) };
        if own.is_file() && (own.dev(), own.ino()) == (other.dev(), other.ino()) {
            return Err(Failure::Usage(format!("{} is the input itself", path.display())));
        }
        Ok(())
    }
}

/// Where rejected lines go.
struct Rejects {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl Rejects {
    fn create(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
        let file = file.map_err(|error| Failure::file("create", path, &error))?;
        Ok(Self { path: path.to_owned(), writer: BufWriter::new(file) })
    }
}

/// Hands batches to the store.
struct StoreSink<'s>(&'s Store);

impl Sink for StoreSink<'_> {
    type Ack = Receipt;
    type Error = Error;

    fn append_batch(&mut self, events: &[NewEvent<'static>]) -> Taken<Receipt, Error> {
        self.0.append_batch(events).map_err(|BatchError { receipts, error, .. }| {
            // What was stored counts at the store's durability: where that is stable storage, once it is there.
            let acknowledged = self.0.durability() != Durability::Durable || self.0.flush().is_ok();
            if acknowledged { Refused { acks: receipts, error } } else { Refused::whole(error) }
        })
    }
}

/// Tells what becomes of the lines.
struct Report {
    acks: Option<Output>,
    rejects: Option<Rejects>,
    progress: Progress,
    /// What ended the import, where it was none of the store's doing.
    failure: Option<Failure>,
}

impl Report {
    /// Keeps the failure for the end; the importer only needs to know that there was one.
    fn noted(&mut self, outcome: Result<(), Failure>) -> io::Result<()> {
        outcome.map_err(|failure| {
            self.failure = Some(failure);
            io::Error::other("told elsewhere")
        })
    }

    fn keep_rejected(
        &mut self,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(rejects) = &mut self.rejects else { return Ok(()) };
        let outcome =
            write(&mut rejects.writer).map_err(|error| Failure::file("write", &rejects.path, &error));
        self.noted(outcome)
    }
}

impl Observer<Receipt> for Report {
    fn rejected(&mut self, line: u64, error: &LineError) -> io::Result<()> {
        self.progress.beside(|| complain(&format!("line {line}: {error}")));
        Ok(())
    }

    fn rejected_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.keep_rejected(|writer| writer.write_all(bytes))
    }

    fn acknowledged(&mut self, line: u64, receipt: Receipt) -> io::Result<()> {
        let Some(output) = &mut self.acks else { return Ok(()) };
        let Receipt { id, shard, sequence, user_sequence, .. } = receipt;
        let outcome = match user_sequence {
            Some(user_sequence) => output.line(&format!("{line} {id} {shard} {sequence} {user_sequence}")),
            None => output.line(&format!("{line} {id} {shard} {sequence} -")),
        };
        self.noted(outcome)
    }

    fn flush(&mut self, summary: &Summary) -> io::Result<()> {
        self.progress.set(summary.bytes, summary.accepted);
        self.keep_rejected(Write::flush)?;
        let outcome = self.acks.as_mut().map_or(Ok(()), Output::flush);
        self.noted(outcome)
    }
}

/// Why the import ended early, and how far it got.
fn told(error: ImportError<Error>, summary: &Summary) -> Failure {
    match error {
        ImportError::Sink(error) => {
            complain(&format!("stopped at line {}: {} events are stored", summary.lines, summary.accepted));
            Failure::Store(error)
        }
        ImportError::Read(error) => Failure::Other(format!("cannot read the input: {error}")),
        other => Failure::Other(other.to_string()),
    }
}
