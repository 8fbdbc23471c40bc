//! Outputs that fail in every way, without a process around them.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// An output that takes this many bytes at each call, or fails.
struct Output {
    plan: VecDeque<Option<usize>>,
    taken: Vec<u8>,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.plan.pop_front() {
            Some(None) => Err(ErrorKind::BrokenPipe.into()),
            Some(Some(most)) => {
                let count = bytes.len().min(most.max(1));
                self.taken.extend_from_slice(&bytes[..count]);
                Ok(count)
            }
            None => {
                self.taken.extend_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn line(number: usize) -> Line {
    let kind = [Kind::Audit, Kind::Ordinary, Kind::Refusal][number % 3];
    Line { kind, text: format!("line {number} {}\n", "x".repeat(number % 7)).into_bytes() }
}

proptest! {
    /// Whatever fails and wherever it is cut: each line is whole in the output or counted, and never both.
    #[test]
    fn a_line_is_written_whole_or_counted(
        plan in proptest::collection::vec(proptest::option::of(0_usize..40), 0..30),
        batches in proptest::collection::vec(1_usize..6, 1..12),
    ) {
        let mut writer = Writer::new(Output { plan: plan.into(), taken: Vec::new() });
        let mut number = 0;
        for size in batches {
            let batch: Vec<Line> = (number..number + size).map(line).collect();
            number += size;
            writer.write(&batch);
        }
        let text = String::from_utf8(writer.output.taken.clone()).unwrap();
        let written: Vec<&str> = text.split_inclusive('\n').collect();
        let mut lost = Lost::default();
        for number in 0..number {
            let line = line(number);
            if written.iter().any(|found| found.as_bytes() == line.text) {
                continue;
            }
            lost.add(line.kind);
        }
        prop_assert_eq!(writer.lost, lost);
    }
}

#[test]
fn a_full_queue_drops_ordinary_lines_first_and_never_waits() {
    let queue = Queue::default();
    let text = vec![b'x'; 1 << 20];
    let push = |kind| queue.push(Line { kind, text: text.clone() });
    (0..5).for_each(|_| push(Kind::Ordinary));
    push(Kind::Audit);
    push(Kind::Audit);
    let mut batch = Vec::new();
    let lost = queue.take(&mut batch, usize::MAX).unwrap();
    let kinds: Vec<Kind> = batch.iter().map(|line| line.kind).collect();
    assert_eq!(kinds, [Kind::Ordinary, Kind::Ordinary, Kind::Audit]);
    assert_eq!(lost, Lost { audit: 1, other: 3, refusal: 0 });
}

/// What anyone can cause, as much as they like, never takes the room of audit lines: the output takes nothing, every
/// flood fills its own room, and the audit lines that come last are there.
#[test]
fn no_flood_displaces_audit_lines() {
    for flood in [Kind::Ordinary, Kind::Refusal, Kind::Important] {
        let queue = Queue::default();
        for _ in 0..100_000 {
            queue.push(Line { kind: flood, text: vec![b'x'; 300] });
        }
        for _ in 0..500 {
            queue.push(Line { kind: Kind::Audit, text: vec![b'a'; 600] });
        }
        let mut batch = Vec::new();
        let lost = queue.take(&mut batch, usize::MAX).unwrap();
        assert_eq!(lost.audit, 0, "{flood:?}");
        assert!(lost.refusal + lost.other > 0, "{flood:?} has filled its room");
        assert_eq!(batch.iter().filter(|line| line.kind == Kind::Audit).count(), 500);
    }
}

/// The kinds that events of these targets, names and levels have, through tracing itself.
#[test]
fn an_anonymous_refusal_is_not_worth_what_a_certificate_is() {
    let (reader, writer) = std::io::pipe().unwrap();
    let (lines, flush) = Lines::to(std::os::fd::OwnedFd::from(writer).into()).unwrap();
    // Nothing is read, so the pipe is full at the first lines and everything else has to wait.
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).finish();
    let before = lines.0.state_of_loss();
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..40_000 {
            tracing::warn!(name: ANONYMOUS, target: AUDIT, reason = "token_signature", "certificate refused");
        }
        for _ in 0..100 {
            tracing::info!(target: AUDIT, serial = "00", "certificate issued");
        }
    });
    let lost = lines.0.state_of_loss();
    assert_eq!(before, Lost::default());
    assert!(lost.refusal > 0, "{lost:?}");
    assert_eq!((lost.audit, lost.other), (0, 0));
    drop(reader);
    drop(flush);
}

#[test]
fn an_output_that_blocks_does_not_hold_the_end_of_the_process() {
    let (reader, writer) = std::io::pipe().unwrap();
    let (lines, flush) = Lines::to(std::os::fd::OwnedFd::from(writer).into()).unwrap();
    // More than a pipe takes.
    for _ in 0..100 {
        lines.make_writer().write_all(&[b'x'; 4096]).unwrap();
    }
    let begun = std::time::Instant::now();
    drop(flush);
    assert!(begun.elapsed() >= LAST_WORDS);
    drop(reader);
}

#[test]
fn words_that_cannot_be_written_are_an_error_and_do_not_block() {
    let (reader, writer) = std::io::pipe().unwrap();
    let patience = Duration::from_millis(50);
    let outcome = write_briefly(writer, "x".repeat(1 << 20), patience);
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::TimedOut);
    drop(reader);
    let (_, gone) = std::io::pipe().unwrap();
    assert!(write_briefly(gone, "x".to_owned(), Duration::from_mins(1)).is_err());
    write_briefly(std::io::sink(), "x".to_owned(), Duration::from_mins(1)).unwrap();
}
