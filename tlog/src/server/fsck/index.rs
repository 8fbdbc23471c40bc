//! What entries are found by: every entry by its identity and its terms, and nothing by anything else.

use super::chunk::{CHUNK, Chunk, STEP};
use super::tally::{Key, Tally};
use super::tree::chunk_of;
use super::{Finding, MAX_FINDINGS, Remedy, Run, cause, finding};
use crate::merkle::{Hash, leaf_hash};
use crate::server::store::{HashedEntry, Scanned, StoreError, StoredEntry};

/// Compares both indexes with the entries.
pub(super) fn check(run: &Run<'_>, key: &Key, chunks: &[Chunk]) -> Vec<Finding> {
    let mut identities = Tally::default();
    let mut terms = Tally::default();
    for chunk in chunks {
        identities.merge(&chunk.identities);
        terms.merge(&chunk.terms);
    }
    let parts: Vec<u16> = (0..512).collect();
    run.watch.begin("index rows", 0, run.snapshot.index_rows());
    let scanned = run.each(&parts, |part| {
        let [kind, start] = part.to_be_bytes();
        Part::scan(run, key, chunks, kind == 1, start)
    });
    let (mut stored_identities, mut stored_terms) = (Tally::default(), Tally::default());
    let mut findings = Vec::new();
    for part in scanned {
        let tally = if part.of_terms { &mut stored_terms } else { &mut stored_identities };
        tally.merge(&part.tally);
        findings.extend(part.findings);
    }
    if stored_identities != identities {
        let located = identities_that_differ(run);
        findings.extend(named(located, "the identity index", &identities, &stored_identities));
    }
    if run.options.parse_leaves && stored_terms != terms {
        let located = terms_that_differ(run, chunks);
        findings.extend(named(located, "the search index", &terms, &stored_terms));
    }
    // Rows beyond the head are seen by both passes.
    findings.dedup();
    findings
}

/// What was located, or that something differs.
fn named(located: Scanned<Vec<Finding>>, place: &str, wanted: &Tally, stored: &Tally) -> Vec<Finding> {
    let problem = match located {
        Ok(located) if !located.is_empty() => return located,
        Ok(_) => format!("its {} rows are not the {} that the entries make", stored.count(), wanted.count()),
        Err(error) => cause(&error),
    };
    vec![finding(place, problem, Remedy::RestoreIndex)]
}

/// One 256th of one of the indexes.
struct Part {
    of_terms: bool,
    tally: Tally,
    findings: Vec<Finding>,
}

impl Part {
    fn scan(run: &Run<'_>, key: &Key, chunks: &[Chunk], of_terms: bool, start: u8) -> Self {
        let mut part = Self { of_terms, tally: Tally::default(), findings: Vec::new() };
        let scanned = if of_terms {
            run.snapshot.terms(start).and_then(|rows| part.count(run, key, chunks, rows))
        } else {
            run.snapshot.identities(start).and_then(|rows| part.count(run, key, chunks, rows))
        };
        if let Err(error) = scanned {
            part.report(finding(part.name(), cause(&error), Remedy::RestoreIndex));
        }
        part
    }

    fn name(&self) -> &'static str {
        if self.of_terms { "the search index" } else { "the identity index" }
    }

    fn count(
        &mut self,
        run: &Run<'_>,
        key: &Key,
        chunks: &[Chunk],
        rows: impl Iterator<Item = Scanned<(Hash, u64)>>,
    ) -> Scanned<()> {
        let mut counted = 0;
        for row in rows {
            let (hash, index) = row?;
            counted += 1;
            if counted == STEP {
                run.watch.advance(STEP);
                counted = 0;
            }
            if index >= run.head.size {
                self.report(dangling(self.name(), &hash, index));
                continue;
            }
            let loose = self.of_terms && chunk_of(chunks, index).is_some_and(|c| c.is_loose(index % CHUNK));
            if !loose {
                self.tally.add(key, &hash, index);
            }
        }
        run.watch.advance(counted);
        Ok(())
    }

    fn report(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }
}

fn dangling(index_name: &str, hash: &Hash, index: u64) -> Finding {
    let problem = format!("{hash} leads to entry {index}, which is none of its own");
    finding(index_name, problem, Remedy::RestoreIndex)
}

/// Looks every row and every entry up. Slow, and only done when the tallies differ.
fn identities_that_differ(run: &Run<'_>) -> Scanned<Vec<Finding>> {
    let mut findings = Vec::new();
    for start in 0..=u8::MAX {
        for row in run.snapshot.identities(start)? {
            let (identity, index) = row?;
            let leads_home = readable(run, index)?.is_some_and(|entry| entry.identity == identity);
            if !leads_home {
                findings.push(dangling("the identity index", &identity, index));
            }
            if findings.len() >= MAX_FINDINGS {
                return Ok(findings);
            }
        }
    }
    for row in run.snapshot.entries(0, Some(run.head.size), leaf_hash)? {
        let (index, entry) = row?;
        let Ok(HashedEntry { entry, .. }) = entry else { continue };
        let problem = match run.snapshot.find(&entry.identity)? {
            Some(found) if found == index => continue,
            Some(other) => format!("its identity {} finds entry {other}", entry.identity),
            None => format!("its identity {} does not find it", entry.identity),
        };
        findings.push(finding(format!("entry {index}"), problem, Remedy::RestoreIndex));
        if findings.len() >= MAX_FINDINGS {
            break;
        }
    }
    Ok(findings)
}

/// The same for search terms.
fn terms_that_differ(run: &Run<'_>, chunks: &[Chunk]) -> Scanned<Vec<Finding>> {
    let is_loose = |index: u64| chunk_of(chunks, index).is_none_or(|chunk| chunk.is_loose(index % CHUNK));
    let mut findings = Vec::new();
    for start in 0..=u8::MAX {
        for row in run.snapshot.terms(start)? {
            let (term, index) = row?;
            let own = |terms: Vec<String>| terms.iter().any(|own| Hash::digest(own.as_bytes()) == term);
            if index < run.head.size && !is_loose(index) && !terms_of(run, index)?.is_some_and(own) {
                findings.push(dangling("the search index", &term, index));
            }
            if findings.len() >= MAX_FINDINGS {
                return Ok(findings);
            }
        }
    }
    for index in (0..run.head.size).filter(|index| !is_loose(*index)) {
        let terms = terms_of(run, index)?.unwrap_or_default();
        let pairs: Vec<_> = terms.iter().map(|term| (Hash::digest(term.as_bytes()), index)).collect();
        for (term, _) in terms.iter().zip(run.snapshot.have_terms(&pairs)?).filter(|(_, found)| !found) {
            let problem = format!("the search term `{term}` does not find it");
            findings.push(finding(format!("entry {index}"), problem, Remedy::RestoreIndex));
        }
        if findings.len() >= MAX_FINDINGS {
            break;
        }
    }
    Ok(findings)
}

fn terms_of(run: &Run<'_>, index: u64) -> Scanned<Option<Vec<String>>> {
    let entry = readable(run, index)?;
    Ok(entry.and_then(|entry| run.leaves.spell(&entry, &leaf_hash(&entry.leaf))))
}

/// The entry at `index`, if it is there and can be read: if not, that was found before.
fn readable(run: &Run<'_>, index: u64) -> Scanned<Option<StoredEntry>> {
    match run.snapshot.entry(index) {
        Err(StoreError::Damaged(_)) => Ok(None),
        other => other,
    }
}
