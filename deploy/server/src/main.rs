//! `chancery-server`: a private Sigstore in one process, composed from the workspace's libraries.
//!
//! - [`config`]: `chancery.toml`, parsed and checked;
//! - [`init`]: makes an instance: keys, certificates, logs, files; [`logs`]: adds and ends logs of one; [`chains`]: replaces
//!   its chains, and imports the trust of others;
//! - [`roles`]: an instance's keys and files, loaded;
//! - [`access`]: who is let into the sealed zone;
//! - [`compose`]: its HTTP face, put together from the roles;
//! - [`run`], [`check`], [`explain`], [`export`], [`fsck`], [`backup`], [`restore`]: the other subcommands;
//! - [`lock`]: one server or changing command at a time;
//! - [`memory`]: what stops an old copy from being served; [`control`]: how a backup is made of a running server;
//! - [`signals`], [`reload`], [`notify`]: what a running server is told, and tells its supervisor;
//! - [`observe`]: what it shows of itself to monitoring; [`output`]: what commands print;
//!   [`descriptors`]: what connections leave to stores; [`build`]: what the program is built from;
//! - [`trust`]: what it publishes about itself; [`tuf`]: how clients follow it.

mod access;
mod backup;
mod build;
mod chains;
mod check;
mod compose;
mod config;
mod control;
mod descriptors;
mod expiry;
mod explain;
mod export;
mod fsck;
mod init;
mod lock;
mod logs;
mod memory;
mod notify;
mod observe;
mod output;
mod reload;
mod restore;
mod roles;
mod run;
mod signals;
mod trust;
mod tuf;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use chancery_tlog::escape::{self, Form, inert};
use chancery_tlog::serve::logging::write_briefly;
use clap::{Parser, Subcommand};

use crate::backup::BackupArguments;
use crate::chains::{ImportTrustArguments, MergeTrustArguments, ReplaceChainArguments, SignCsrArguments};
use crate::explain::ExplainArguments;
use crate::export::ExportArguments;
use crate::fsck::FsckArguments;
use crate::init::InitArguments;
use crate::logs::{AddLogArguments, EndLogArguments};
use crate::restore::RestoreArguments;
use crate::tuf::SignArguments;

/// A private Sigstore in one process: certificate authority, issuance log, attestation log and trust distribution
#[derive(Parser)]
#[command(name = "chancery-server", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make an instance: keys, certificates, logs, configuration and trust files
    Init(Box<InitArguments>),
    /// Serve an instance until SIGTERM or SIGINT
    ///
    /// It locks the folder: no other server, and no command that changes the instance, works there meanwhile.
    ///
    /// SIGHUP reads chancery.toml, the issuers, the readers and the TLS files again, all or nothing; the log says what changed,
    /// or why nothing did.
    Run {
        /// Folder of the instance
        dir: PathBuf,
    },
    /// Check an instance's configuration, keys and files, and print what was checked
    CheckConfig {
        /// Folder of the instance
        dir: PathBuf,
    },
    /// Show what an instance would make of a token: issuer, checks, each rule with what it found, and the
    /// certificate
    ///
    /// Issues nothing, records nothing, and never prints the token. Exits with 0 if the token would get a
    /// certificate for a good key, 1 if it would be refused, 2 if that could not be found out.
    ExplainToken(ExplainArguments),
    /// Make a token for a reader of entries, print it once, and list it in the instance's file of readers
    ReaderToken {
        /// Folder of the instance
        dir: PathBuf,
        /// Name of the reader, for the access log and for whoever removes the line
        name: String,
    },
    /// Add a log to an instance that does not run, in the place of another one or beside the others
    ///
    /// It gets keys and a folder of its own, and a table in chancery.toml after the other logs; the trust files are written
    /// again. With --replaces the other log ends at the same moment: this is how a key is replaced, and how a new year's
    /// log begins.
    AddLog(AddLogArguments),
    /// End a log of an instance that does not run: it takes no more entries, and is trusted until a moment
    ///
    /// Bundles from before that moment keep verifying. The log is served for reading, unless it is said otherwise. Can be
    /// said again of a log that has ended, to change the moment or to serve it no more.
    EndLog(EndLogArguments),
    /// Replace the certificates of the certificate authority or the timestamp authority of an instance that does not run
    ///
    /// The new certificate has a key of its own. The old chain stays in the trust files with an end, so what it vouched for
    /// verifies as before. The root stays, unless --new-root is said: its key signs, here, or elsewhere by --csr and
    /// --chain. With --prepare clients learn of the new chain before it is used.
    ReplaceChain(Box<ReplaceChainArguments>),
    /// Sign the request that `replace-chain --csr` wrote, with the root's key, on any machine, and print the new chain
    SignCsr(SignCsrArguments),
    /// Add the trusted root of an instance before this one, such as of a Sigstore of other make, as trust that has ended
    ///
    /// What was signed there verifies with the trust files of this instance from then on. Nothing new can be signed by it.
    ImportTrust(ImportTrustArguments),
    /// Publish the trust files of another host together with one's own, where the roles of one instance are on several hosts
    ///
    /// Clients then pin this host and find the roles of both. Say it again when the other host's keys have changed.
    MergeTrust(MergeTrustArguments),
    /// Print the client trust configuration, write all trust files into a folder, or print what one client needs
    ///
    /// With --for: the files that this client reads go into a folder, and what makes it use them to standard output: a
    /// shell script that signs and verifies, whose head says what to set, or resources for kubectl.
    ExportTrust(Box<ExportArguments>),
    /// Check every log of an instance that does not run: entries, tree, signature, times and indexes
    ///
    /// Reads everything and writes nothing into the folder. Exits with 0 if all logs are sound, 1 if damage was found,
    /// 2 if something could not be checked.
    Fsck(FsckArguments),
    /// Make a whole, consistent and checked copy of an instance, while it is served or not
    Backup(BackupArguments),
    /// Make an instance of a backup, if that is the newest state that anybody has seen
    ///
    /// A log that goes on from an older state gives its next entries numbers that others have, and contradicts what it
    /// signed: clients and witnesses then hold the proof that it cannot be trusted.
    Restore(RestoreArguments),
    /// Make the memory of heads that `[memory]` in chancery.toml names, from an instance that does not run
    ///
    /// From then on the server writes its heads there and asks it at every start, and does not start without it.
    Remember {
        /// Folder of the instance
        dir: PathBuf,
    },
    /// Sign what TUF clients follow, with the key that is kept offline
    #[command(subcommand)]
    Tuf(TufCommand),
}

#[derive(Subcommand)]
enum TufCommand {
    /// Sign the trust files in DIR/trust for TUF clients, where they changed, and renew what would end
    ///
    /// After a change of keys or logs: `export-trust DIR --output DIR/trust`, then this with the offline key at hand. A
    /// running server publishes the result within a minute. DIR may also be a folder on another machine, with copies of
    /// the instance's tuf/ and trust/; copy tuf/ back afterwards.
    Sign(SignArguments),
}

/// How long standard error may take the reason of a failure.
const LAST_WORDS: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(message) => return usage(message),
    };
    let outcome = match arguments.command {
        Command::Init(arguments) => init::init(*arguments).await,
        Command::Run { dir } => run::run(&dir).await,
        Command::CheckConfig { dir } => check::check(&dir),
        Command::ExplainToken(arguments) => return explain::explain(&arguments).await,
        Command::ReaderToken { dir, name } => access::make_token(&dir, &name),
        Command::AddLog(arguments) => logs::add(arguments).await,
        Command::EndLog(arguments) => logs::end(arguments).await,
        Command::ReplaceChain(arguments) => chains::replace(&arguments),
        Command::SignCsr(arguments) => chains::sign_csr(&arguments),
        Command::ImportTrust(arguments) => chains::import(&arguments),
        Command::MergeTrust(arguments) => chains::merge(&arguments),
        Command::ExportTrust(arguments) => export::run(&arguments),
        Command::Fsck(arguments) => return fsck::fsck(&arguments),
        Command::Backup(arguments) => backup::backup(&arguments),
        Command::Restore(arguments) => restore::restore(&arguments),
        Command::Remember { dir } => memory::remember(&dir),
        Command::Tuf(TufCommand::Sign(arguments)) => tuf::sign(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // In the form and on the stream of the log, where it has been written.
        Err(error) if error.is::<run::Logged>() => ExitCode::FAILURE,
        Err(error) => {
            // Some errors have several lines; what else is not shown in them came from a file or an answer.
            let text = format!("error: {}", output::in_full(&error));
            let lines: Vec<_> = text.lines().map(|line| inert(line, Form::Line)).collect();
            // A pipe that is full and not read must not keep a failed process from ending.
            let _ = write_briefly(std::io::stderr(), lines.join("\n") + "\n", LAST_WORDS);
            ExitCode::FAILURE
        }
    }
}

/// Prints help, version, or what is wrong with the arguments.
fn usage(message: clap::Error) -> ExitCode {
    // A message quotes arguments, line breaks and all. Where only the escaped ones are right, nothing is quoted.
    let visible = Arguments::try_parse_from(escape::arguments(std::env::args_os())).err();
    let message = visible.filter(|same| same.kind() == message.kind()).unwrap_or(message);
    let _ = message.print();
    u8::try_from(message.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Help is an interface: a change of it is seen in review.
    #[test]
    fn help_is_as_recorded() {
        let mut command = Arguments::command().term_width(100);
        command.build();
        let mut texts = vec![command.render_long_help().to_string()];
        let names = [
            "init",
            "run",
            "check-config",
            "explain-token",
            "reader-token",
            "add-log",
            "end-log",
            "replace-chain",
            "sign-csr",
            "import-trust",
            "merge-trust",
            "export-trust",
            "fsck",
            "backup",
            "restore",
            "remember",
            "tuf",
        ];
        for name in names {
            let mut subcommand = command.find_subcommand_mut(name).unwrap().clone().term_width(100);
            texts.push(format!("==== {name}\n\n{}", subcommand.render_long_help()));
        }
        let sign = command.find_subcommand_mut("tuf").and_then(|tuf| tuf.find_subcommand_mut("sign"));
        let mut sign = sign.unwrap().clone().term_width(100);
        texts.push(format!("==== tuf sign\n\n{}", sign.render_long_help()));
        let text = texts.join("\n");
        insta::assert_snapshot!(text);
    }
}
