//! Layer over a log's writer that lets no hidden character through: a name or message from outside can neither begin a
//! log line of its own nor change how its line is shown.

use std::io::{self, Write};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use crate::escape::{Form, escaped};

/// A writer, behind the escaping of everything that is written to it.
///
/// Each write is one event with its final line break, as the formatter gives it.
#[derive(Clone, Debug)]
pub(super) struct Visible<W> {
    inner: W,
    form: Form,
}

impl<W> Visible<W> {
    pub(super) fn new(inner: W, form: Form) -> Self {
        Self { inner, form }
    }
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Visible<M> {
    type Writer = Visible<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Visible::new(self.inner.make_writer(), self.form)
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        Visible::new(self.inner.make_writer_for(metadata), self.form)
    }
}

impl<W: Write> Write for Visible<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = event.strip_suffix(b"\n").unwrap_or(event);
        if line.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            self.inner.write_all(event)?;
            return Ok(event.len());
        }
        let text = String::from_utf8_lossy(line);
        let mut shown = escaped(&text, self.form).into_owned();
        if line.len() < event.len() {
            shown.push('\n');
        }
        self.inner.write_all(shown.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::with_default;

    use super::*;

    /// Written bytes, shared with the test.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The log of one event with this text in its message, in a text and in an error.
    fn logged(text: &str, form: Form) -> String {
        let written = Written::default();
        let sink = written.clone();
        let builder = tracing_subscriber::fmt()
            .with_writer(Visible::new(move || sink.clone(), form))
            .with_ansi(form == Form::Coloured);
        let event = || {
            let error = io::Error::other(text.to_owned());
            tracing::info!(subject = text, name = %text, %error, "a token of {text}");
        };
        if form == Form::Json {
            with_default(builder.json().flatten_event(true).finish(), event);
        } else {
            with_default(builder.finish(), event);
        }
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn an_event_is_one_line_without_hidden_characters() {
        let hostile =
            "x\n2026-11-30T00:00:00Z  INFO forged\r\x1b]0;t\x07\x1b[2J\u{9b}31m\u{202e}\u{200b}\u{feff}";
        for form in [Form::Line, Form::Json] {
            let log = logged(hostile, form);
            let line = log.strip_suffix('\n').unwrap();
            assert!(!line.chars().any(crate::escape::is_hidden), "{form:?}: {line:?}");
        }
        let coloured = logged(hostile, Form::Coloured);
        assert_eq!(coloured.lines().count(), 1, "{coloured:?}");
        assert!(!coloured.contains("\x1b]") && !coloured.contains("\x1b[2J"), "{coloured:?}");
    }

    #[test]
    fn a_json_event_keeps_its_values() {
        let event: serde_json::Value = serde_json::from_str(&logged("a\u{202e}\nb", Form::Json)).unwrap();
        assert_eq!(event["subject"], "a\u{202e}\nb");
    }
}
