//! Every client of today signs, and every one verifies what every other one made: keyless, in both dialects of the
//! log. What is expected stands once, in [`matrix::table`]; a cell that works against expectation fails as well as one
//! that does not work, so that the table, which `deploy/docs/client-matrix.md` repeats for humans, stays true. (issue
//! facts: clients.md §2)

use std::fmt::{self, Display, Formatter};
use std::io::Write as _;
use std::time::Instant;

use anyhow::{Result, ensure};
use chancery_tests::Rekor;

#[path = "matrix/clients.rs"]
mod clients;
#[path = "matrix/table.rs"]
mod table;

use clients::{Clients, Evidence};
use table::{Dialect, Kind, Signer, Verdict, Verifier, signing, verifying};

#[tokio::test]
async fn every_client_meets_every_client_over_rekor_v1() -> Result<()> {
    meet(Dialect::V1).await
}

#[tokio::test]
async fn every_client_meets_every_client_over_rekor_v2() -> Result<()> {
    meet(Dialect::V2).await
}

/// The instance that `init` makes if it is not told otherwise. Clients that take URLs find its v1 log, those that take
/// a signing config its v2 log, and the trusted root has both.
#[tokio::test]
async fn every_client_meets_every_client_over_both_logs_at_once() -> Result<()> {
    let clients = Clients::start(Rekor::Both).await?;
    run(&clients, Signer::preferred).await
}

#[test]
fn the_documentation_shows_the_table_that_these_tests_hold() -> Result<()> {
    table::check_documentation()
}

/// Runs every cell of a dialect and prints the table if all came out as expected.
async fn meet(dialect: Dialect) -> Result<()> {
    let rekor = match dialect {
        Dialect::V1 => Rekor::V1,
        Dialect::V2 => Rekor::V2,
    };
    run(&Clients::start(rekor).await?, |_| dialect).await?;
    // Past the capture of test runners that hide what passing tests print.
    Ok(writeln!(std::io::stdout(), "\n{}", table::render(dialect))?)
}

/// Runs every cell; `dialect` is the log that a signer uses.
async fn run(clients: &Clients, dialect: impl Fn(Signer) -> Dialect) -> Result<()> {
    let mut surprises = Vec::new();
    for kind in Kind::ALL {
        let mut refusers = Vec::new();
        for signer in Signer::ALL {
            let row = Row { dialect: dialect(signer), kind, signer };
            let expected = signing(row.dialect, kind, signer);
            if let Verdict::Apart(_) = expected {
                continue;
            }
            let (started, signed) = (Instant::now(), clients.sign(signer, kind).await);
            eprintln!("{row} signs: {:?}", started.elapsed());
            match (signed, expected) {
                (Ok(evidence), Verdict::Works) => {
                    surprises.extend(row.verify(clients, &evidence, &mut refusers)?);
                }
                (Err(error), Verdict::Works) => surprises.push(format!("{row} signs: {error:#}")),
                (Ok(_), _) => surprises.push(format!("{row} signs, contrary to the table")),
                (Err(_), _) => {}
            }
        }
    }
    ensure!(surprises.is_empty(), "not as expected:\n\n{}", surprises.join("\n\n"));
    Ok(())
}

/// A row of the table.
struct Row {
    dialect: Dialect,
    kind: Kind,
    signer: Signer,
}

impl Row {
    /// Hands what the signer made to every verifier; what came out otherwise than expected. `refusers` are those who
    /// have refused something already: accepting means something only of them.
    fn verify(
        &self,
        clients: &Clients,
        evidence: &Evidence,
        refusers: &mut Vec<Verifier>,
    ) -> Result<Vec<String>> {
        let mut surprises = Vec::new();
        for verifier in Verifier::ALL {
            let expected = verifying(self.dialect, self.kind, self.signer, verifier);
            if let Verdict::Apart(_) = expected {
                continue;
            }
            let (started, outcome) = (Instant::now(), clients.verify(verifier, self.kind, evidence)?);
            eprintln!("{self} → {verifier}: {:?}", started.elapsed());
            match (outcome.code == Some(0), expected) {
                (true, Verdict::Works) if !refusers.contains(&verifier) => {
                    if clients.verify_another(verifier, self.kind, evidence)?.code == Some(0) {
                        surprises.push(format!("{self} → {verifier}: accepts another artifact too"));
                    }
                    refusers.push(verifier);
                }
                (false, Verdict::Works) => surprises.push(format!("{self} → {verifier}: {}", outcome.said())),
                (true, Verdict::Fails(_)) => {
                    surprises.push(format!("{self} → {verifier}: works, contrary to the table"));
                }
                _ => {}
            }
        }
        Ok(surprises)
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}", self.dialect, self.kind, self.signer)
    }
}
