//! The end of a signing run. A log has the signature or may have it, so nothing from here on ends without saying where, and
//! without the bundle in some place.
//!
//! Invariant: every failure here ends with exit code 3, which says that a log entry may exist: to try again makes another.
//! What is serialised consists of texts and numbers, so it always serialises.

use chancery::bundle::LogEntry;
use chancery::guard::Contact;
use chancery::instance::{Dialect, LogService};
use chancery::sign::{Flaw, Session, Signed};
use chancery::verify::Identity;
use serde::Serialize;
use serde_json::Value;

use super::Run;
use crate::cli::Failure;
use crate::cli::output::{Delivered, Kept, Outputs};
use crate::cli::verification::UNKNOWN;

/// The result of a run as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'r> {
    /// Where the bundle was wanted, and is.
    bundles: Vec<String>,
    /// Why the run did not end well.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'r str>,
    /// The file with the bundle, if it is somewhere else than it was wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    rescue: Option<String>,
    /// The bundle itself, if no folder takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle: Option<Value>,
    identity: Identity,
    instance: InstanceName<'r>,
    signed_at: Option<&'r str>,
    timestamp_authorities: Vec<&'r str>,
    log_entries: Vec<Logged<'r>>,
    /// The log that does not say whether it has an entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    possibly_logged: Option<Logged<'r>>,
    contacted: Vec<Contact>,
}

#[derive(Serialize)]
struct InstanceName<'r> {
    url: &'r str,
    sha256: String,
}

/// An entry of a log.
#[derive(Serialize)]
struct Logged<'r> {
    log: &'r str,
    dialect: Dialect,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
}

impl Run<'_> {
    /// Says where the signature was logged, writes the bundle, and gives the result.
    pub(super) fn finish(
        &self,
        session: &Session<'_>,
        signed: &Signed,
        outputs: Outputs,
    ) -> Result<(), Failure> {
        // First of all: if no place takes the bundle, this is known all the same.
        self.report(signed);
        let bundle = signed.bundle.to_json();
        let mut delivered = match &signed.outcome {
            Ok(_) => outputs.write(&bundle, self.console),
            Err(flaw) => outputs.set_aside(&bundle, flaw),
        };
        let printed = if self.console.is_json() {
            self.document(session, signed, &bundle, &mut delivered)
        } else {
            self.lines(&bundle, &mut delivered)
        };
        match (delivered.failure, printed) {
            (Some(failure), _) => Err(failure),
            (None, Err(error)) => Err(Failure::logged(format!(
                "the signature is logged and its bundle written, but the result is not: {}",
                error.message
            ))),
            (None, Ok(())) => Ok(()),
        }
    }

    /// Says when and where the signature was logged, unless the result is JSON, which has it all.
    fn report(&self, signed: &Signed) {
        if self.console.is_json() {
            return;
        }
        match &signed.outcome {
            Ok(Some(time)) => self.console.say(&format!("signed at {time}")),
            Ok(None) => self.console.say(&format!("signed at {UNKNOWN}: nobody trusted says when")),
            Err(_) => {}
        }
        for authority in &self.services.timestamp_authorities {
            self.console.say(&format!("timestamp by {authority}"));
        }
        for (log, entry) in self.entries(signed) {
            self.console.say(&format!("logged at index {} of {} ({})", entry.index, log.url, log.dialect));
        }
        for contact in self.guard.contacts() {
            let times =
                if contact.requests == 1 { "once".to_owned() } else { format!("{} times", contact.requests) };
            self.console.say(&format!("contacted {} {times}", contact.host));
        }
    }

    /// The paths of the bundle; or itself, if no folder takes it.
    fn lines(&self, bundle: &str, delivered: &mut Delivered) -> Result<(), Failure> {
        if delivered.kept == Some(Kept::Nowhere) {
            let place = if self.console.document(bundle).is_ok() {
                "was written to stdout"
            } else {
                self.console.last_resort(bundle);
                "stands above"
            };
            delivered.explain(&format!("{place}, since no folder takes it"));
        }
        delivered.written.iter().try_for_each(|path| self.console.path(path))
    }

    /// The result as JSON, with the bundle in it if no folder takes it.
    fn document(
        &self,
        session: &Session<'_>,
        signed: &Signed,
        bundle: &str,
        delivered: &mut Delivered,
    ) -> Result<(), Failure> {
        let is_nowhere = delivered.kept == Some(Kept::Nowhere);
        if is_nowhere {
            delivered.explain("is in the result, since no folder takes it");
        }
        let document = Document {
            bundles: delivered.written.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
            problem: delivered.failure.as_ref().map(|failure| failure.message.as_str()),
            rescue: match &delivered.kept {
                Some(Kept::At(path)) => Some(path.to_string_lossy().into_owned()),
                _ => None,
            },
            bundle: is_nowhere.then(|| serde_json::from_str(bundle).unwrap_or_default()),
            identity: session.identity(),
            instance: InstanceName { url: self.instance.url(), sha256: self.instance.id() },
            signed_at: signed.outcome.as_ref().ok().and_then(Option::as_deref),
            timestamp_authorities: self.services.timestamp_authorities.iter().map(url::Url::as_str).collect(),
            log_entries: self
                .entries(signed)
                .map(|(log, entry)| Logged::new(log, Some(entry.index)))
                .collect(),
            possibly_logged: possibly(signed),
            contacted: self.contacts(),
        };
        if !is_nowhere {
            return self.console.json(&document);
        }
        let json = serde_json::to_string_pretty(&document).map_err(std::io::Error::from);
        let printed = json.and_then(|json| self.console.document(&json));
        if printed.is_err() {
            self.console.last_resort(bundle);
            delivered.explain("stands above, since neither a folder nor stdout takes it");
        }
        printed.map_err(Failure::logged)
    }

    /// One entry per log, in the order of the services.
    fn entries<'r>(&'r self, signed: &'r Signed) -> impl Iterator<Item = (&'r LogService, &'r LogEntry)> {
        self.services.logs.iter().zip(&signed.bundle.entries)
    }
}

/// The log that may have the signature and does not say so.
fn possibly(signed: &Signed) -> Option<Logged<'_>> {
    match &signed.outcome {
        Err(Flaw::Unknown { log, error } | Flaw::Incomplete { log, error, .. }) if error.may_be_logged() => {
            Some(Logged::new(log, None))
        }
        _ => None,
    }
}

impl<'r> Logged<'r> {
    fn new(log: &'r LogService, index: Option<u64>) -> Self {
        Self { log: log.url.as_str(), dialect: log.dialect, index }
    }
}
