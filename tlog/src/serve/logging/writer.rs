//! The thread that writes log lines, and what happens when it cannot.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::queue::{Kind, Line, Lost, Queue, count};
use super::{ANONYMOUS, AUDIT};

/// Lines are written together up to this size.
const BATCH: usize = 64 * 1024;
/// How long the end of the process waits for the last lines. A pipe that is not read may never take them.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Between two attempts on an output that is set to not block.
const PAUSE: Duration = Duration::from_millis(10);
/// End of a line that a failure cut off, written before the next one.
const CUT_OFF: &[u8] = b" [cut off]\n";
/// Target of the report of lost lines.
const REPORT: &str = "chancery::log";

/// Where tracing writes its lines.
#[derive(Clone)]
pub(super) struct Lines(Arc<Queue>);

/// Closes the log when dropped: waits for the last lines, but not for an output that takes none.
#[must_use]
pub struct Flush(Arc<Queue>);

impl Lines {
    /// Starts the thread that writes to `output`.
    pub(super) fn to(output: File) -> std::io::Result<(Self, Flush)> {
        let queue = Arc::new(Queue::default());
        let lines = Arc::clone(&queue);
        // Detached: a write to a full pipe may never return.
        thread::Builder::new().name("log".to_owned()).spawn(move || Writer::new(output).run(&lines))?;
        Ok((Self(Arc::clone(&queue)), Flush(queue)))
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.0.close(LAST_WORDS);
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Pen<'a>;

    fn make_writer(&'a self) -> Pen<'a> {
        Pen { queue: &self.0, kind: Kind::Ordinary }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Pen<'a> {
        let kind = match meta.target() {
            AUDIT if meta.name() == ANONYMOUS => Kind::Refusal,
            AUDIT => Kind::Audit,
            REPORT => Kind::Report,
            _ if *meta.level() <= Level::WARN => Kind::Important,
            _ => Kind::Ordinary,
        };
        Pen { queue: &self.0, kind }
    }
}

/// Takes one line, which tracing formats completely before it writes.
pub(super) struct Pen<'a> {
    queue: &'a Queue,
    kind: Kind,
}

impl Write for Pen<'_> {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.queue.push(Line { kind: self.kind, text: line.to_vec() });
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The writing end.
struct Writer<W> {
    output: W,
    /// The last line was cut off by a failure.
    torn: bool,
    /// Lost and not reported yet.
    lost: Lost,
    /// In the report that waits to be written.
    reported: Lost,
}

impl<W: Write> Writer<W> {
    fn new(output: W) -> Self {
        Self { output, torn: false, lost: Lost::default(), reported: Lost::default() }
    }

    fn run(mut self, queue: &Queue) {
        let mut batch = Vec::new();
        while let Some(dropped) = queue.take(&mut batch, BATCH) {
            self.lost.merge(dropped);
            if self.write(&batch) && !self.lost.is_none() && self.reported.is_none() {
                self.report();
            }
            batch.clear();
        }
    }

    /// Writes the lines; counts those that were not written completely. True if all were.
    fn write(&mut self, lines: &[Line]) -> bool {
        let mut text = if self.torn { CUT_OFF.to_vec() } else { Vec::new() };
        let lead = text.len();
        for line in lines {
            text.extend_from_slice(&line.text);
        }
        let (written, all) = write_all(&mut self.output, &text);
        let mut end = lead;
        for line in lines {
            end += line.text.len();
            if end <= written {
                if line.kind == Kind::Report {
                    self.reported = Lost::default();
                }
                continue;
            }
            count(line.kind);
            self.lost.add(line.kind);
            if line.kind == Kind::Report {
                self.lost.merge(std::mem::take(&mut self.reported));
            }
        }
        if written > 0 {
            self.torn = text[written - 1] != b'\n';
        }
        all
    }

    /// Reports through the log itself, so that the line has its form.
    fn report(&mut self) {
        self.reported = std::mem::take(&mut self.lost);
        let Lost { audit, refusal, other } = self.reported;
        tracing::warn!(target: REPORT, audit, refusal, other, "{} log lines lost", audit + refusal + other);
    }
}

/// Bytes that were written, and whether those were all.
fn write_all(output: &mut impl Write, text: &[u8]) -> (usize, bool) {
    let mut written = 0;
    while written < text.len() {
        match output.write(&text[written..]) {
            Ok(0) => return (written, false),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Another process has set the output that we share to not block.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(_) => return (written, false),
        }
    }
    (written, true)
}

/// Writes `text` to `output` from a thread of its own and waits for at most `patience`: for words at the
/// start or the end of a process that must not depend on a pipe's reader. An error if they were not written.
pub fn write_briefly(
    mut output: impl Write + Send + 'static,
    text: String,
    patience: Duration,
) -> std::io::Result<()> {
    let (done, outcome) = mpsc::channel();
    thread::Builder::new().spawn(move || {
        let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
        // The receiver has gone if its patience has ended.
        let _ = done.send(written);
    })?;
    outcome.recv_timeout(patience).unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests;
