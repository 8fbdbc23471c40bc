//! [`HeadSigning`]: the engine as far as heads and acknowledgements go.
//!
//! A log is the list of its entries; lists are equal exactly if roots are, so a list also stands for its signed head.
//! What the model leaves out: hashing and signing themselves (`Batch::check` and the tests of `round` answer for them),
//! the pool's bounds, readers other than of heads. A signature that never leaves the process's memory, because the store
//! said that nothing was written, is nobody's: heads count from [`Action::Show`] on. Counting them from signing on is
//! [`Flaw::ShowsWhenSigned`], and does break the promise.
//!
//! | action | in `chancery_tlog::server` |
//! |---|---|
//! | [`Action::Draw`] | `Pool::next`, `Sequencer::without_stored`, `Tree::integrate`, `Batch::check`, `Checked::sign` |
//! | [`Action::Refuse`] | `Store::commit` → `CommitError::NotApplied` → `AddError::Failed` |
//! | [`Action::Append`] | `Store::commit`: compares the parent, writes the record; else `CommitError::Superseded` |
//! | [`Action::FailAppend`], [`Action::FailSync`] | `CommitError::Unknown` → `Fatal::Unknown`, the process ends |
//! | [`Action::Sync`] | fdatasync of the write-ahead log; `Store::commit` returns `Ok` |
//! | [`Action::Remember`] | whoever keeps the last head elsewhere is told |
//! | [`Action::Show`], [`Action::Answer`] | `Committed::publish`: readers first, submitters second |
//! | [`Action::Start`] | `Rocks::open`, whose recovery writes and syncs what it replays, and `round::restore` |

use std::collections::BTreeSet;

use stateright::{Model, Property};

type Entry = u8;
type Log = Vec<Entry>;

/// Who may write at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writers {
    /// One process: the folder is locked.
    Locked,
    /// Two, on a shared store whose commits are transactions that compare the stored head with their parent. Each may
    /// show the head that it knows, so an older one can follow a newer one: then they are consistent, no more.
    Compared,
}

/// A place outside of the folder that knows the last head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    None,
    /// Told before a head is shown.
    BeforeShown,
    /// Told some time after.
    AfterShown,
}

/// A duty that is neglected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    ShowsWhenSigned,
    TakesUnknownForFailure,
    TakesUnknownForSuccess,
    LeavesFsyncOut,
    StartsUnsynced,
    ComparesNothing,
}

/// The engine within bounds.
#[derive(Clone, Debug)]
pub(crate) struct HeadSigning {
    pub(crate) entries: Entry,
    /// Failures, crashes and power cuts in all.
    pub(crate) faults: u8,
    pub(crate) restores: u8,
    pub(crate) writers: Writers,
    pub(crate) memory: Memory,
    pub(crate) flaw: Option<Flaw>,
}

/// How far the round under way is; with the log after it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Idle,
    Signed(Log),
    Appended(Log),
    Synced(Log),
    Shown(Log),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Process {
    Down,
    /// `held` is the tree of the sequencer and the head that it shows.
    Up {
        held: Log,
        stage: Stage,
    },
    /// By itself, after an outcome that it must not survive.
    Ended,
    /// At its start.
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    durable: Log,
    /// What processes read: with what is not synced yet.
    cached: Log,
    backup: Option<Log>,
    memory: Log,
    processes: [Process; 2],
    shown: BTreeSet<Log>,
    acknowledged: BTreeSet<(usize, Entry)>,
    /// Told that they were certainly not added, and not submitted again.
    refused: BTreeSet<Entry>,
    faults: u8,
    restores: u8,
    lost: bool,
    unwanted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Draw(usize, Vec<Entry>),
    Refuse(usize),
    Append(usize),
    /// Whether the record is in the page cache all the same.
    FailAppend(usize, bool),
    Sync(usize),
    /// Whether the page cache still has the record.
    FailSync(usize, bool),
    Remember(usize),
    Show(usize),
    Answer(usize),
    Kill(usize),
    PowerCut,
    Start(usize),
    Backup,
    Restore,
}

impl State {
    fn show(&mut self, head: &Log, writers: Writers) {
        let older = |index: usize| writers == Writers::Compared && index >= head.len();
        self.lost |= self.acknowledged.iter().any(|(at, entry)| !older(*at) && head.get(*at) != Some(entry));
        // Of two writers the other one may have taken the same entry in.
        let refused = |entry| writers == Writers::Locked && self.refused.contains(entry);
        self.unwanted |= head.iter().any(refused);
        self.shown.insert(head.clone());
    }

    fn acknowledge(&mut self, held: &Log, after: &Log) {
        let new = after.iter().copied().enumerate().skip(held.len());
        self.acknowledged.extend(new);
    }

    fn any_up(&self) -> bool {
        self.processes.iter().any(|process| matches!(process, Process::Up { .. }))
    }
}

impl HeadSigning {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn writers(&self) -> usize {
        if self.writers == Writers::Locked { 1 } else { 2 }
    }

    /// Every batch of at most two entries that are not in the log.
    fn batches(&self, held: &Log) -> Vec<Vec<Entry>> {
        let rest: Vec<Entry> = (0..self.entries).filter(|entry| !held.contains(entry)).collect();
        let alone = rest.iter().map(|entry| vec![*entry]);
        let both = rest.iter().enumerate().flat_map(|(at, first)| {
            rest.get(at + 1..).unwrap_or_default().iter().map(|second| vec![*first, *second])
        });
        alone.chain(both).collect()
    }

    fn round_actions(&self, state: &State, p: usize, held: &Log, stage: &Stage, actions: &mut Vec<Action>) {
        let faulty = state.faults > 0;
        match stage {
            Stage::Idle => {
                actions.extend(self.batches(held).into_iter().map(|batch| Action::Draw(p, batch)));
                if self.memory == Memory::AfterShown && state.memory != *held {
                    actions.push(Action::Remember(p));
                }
            }
            Stage::Signed(_) => {
                actions.push(Action::Append(p));
                if faulty {
                    actions.extend([
                        Action::Refuse(p),
                        Action::FailAppend(p, false),
                        Action::FailAppend(p, true),
                    ]);
                }
            }
            Stage::Appended(_) => {
                actions.push(Action::Sync(p));
                if faulty {
                    actions.extend([Action::FailSync(p, false), Action::FailSync(p, true)]);
                }
            }
            Stage::Synced(after) if self.memory == Memory::BeforeShown && state.memory != *after => {
                actions.push(Action::Remember(p));
            }
            Stage::Synced(_) => actions.push(Action::Show(p)),
            Stage::Shown(_) => actions.push(Action::Answer(p)),
        }
        if faulty {
            actions.push(Action::Kill(p));
        }
    }

    fn draw(&self, state: &mut State, p: usize, batch: &[Entry]) -> Option<()> {
        let Process::Up { held, stage } = &mut state.processes[p] else { return None };
        let (held, after) = (held.clone(), [held.as_slice(), batch].concat());
        *stage = Stage::Signed(after.clone());
        state.refused.retain(|entry| !batch.contains(entry));
        if self.has(Flaw::ShowsWhenSigned) {
            state.show(&after, self.writers);
            state.acknowledge(&held, &after);
        }
        Some(())
    }

    fn may_write(&self, parent: &Log, stored: &Log) -> bool {
        parent == stored || self.has(Flaw::ComparesNothing)
    }

    /// The record, where the head still is the parent. With the lock nobody else can have moved it.
    fn append(&self, state: &mut State, p: usize) -> Option<()> {
        let Process::Up { held, stage } = &mut state.processes[p] else { return None };
        let Stage::Signed(after) = stage.clone() else { return None };
        if self.writers == Writers::Locked {
            *stage = Stage::Appended(after.clone());
            state.cached = after;
        } else if self.may_write(held, &state.cached) {
            *stage = Stage::Synced(after.clone());
            (state.cached, state.durable) = (after.clone(), after);
        } else {
            state.processes[p] = Process::Ended;
        }
        Some(())
    }

    /// The outcome of a commit is unknown.
    fn unknown(&self, state: &mut State, p: usize, written: bool) -> Option<()> {
        let Process::Up { held, stage } = &mut state.processes[p] else { return None };
        let (Stage::Signed(after) | Stage::Appended(after)) = stage.clone() else { return None };
        state.faults -= 1;
        if self.writers == Writers::Locked {
            state.cached = if written { after.clone() } else { state.durable.clone() };
        } else if written && self.may_write(held, &state.cached) {
            (state.cached, state.durable) = (after.clone(), after.clone());
        }
        if self.has(Flaw::TakesUnknownForFailure) {
            state.refused.extend(&after[held.len()..]);
            *stage = Stage::Idle;
        } else if self.has(Flaw::TakesUnknownForSuccess) {
            *stage = Stage::Synced(after);
        } else {
            state.processes[p] = Process::Ended;
        }
        Some(())
    }

    fn start(&self, state: &mut State, p: usize) {
        let forgotten = !state.cached.starts_with(&state.memory);
        if self.memory != Memory::None && forgotten {
            state.processes[p] = Process::Refused;
            return;
        }
        if !self.has(Flaw::StartsUnsynced) {
            state.durable = state.cached.clone();
        }
        let held = state.cached.clone();
        if self.memory == Memory::BeforeShown {
            state.memory.clone_from(&held);
        }
        state.show(&held, self.writers);
        state.processes[p] = Process::Up { held, stage: Stage::Idle };
    }

    /// Sync, remember, show, answer.
    fn proceed(&self, state: &mut State, p: usize, action: &Action) -> Option<()> {
        let Process::Up { held, stage } = state.processes[p].clone() else { return None };
        let (held, stage) = match (action, stage) {
            (Action::Sync(_), Stage::Appended(after)) => {
                if !self.has(Flaw::LeavesFsyncOut) {
                    state.durable.clone_from(&state.cached);
                }
                (held, Stage::Synced(after))
            }
            (Action::Remember(_), Stage::Synced(after)) => {
                state.memory.clone_from(&after);
                (held, Stage::Synced(after))
            }
            (Action::Remember(_), Stage::Idle) => {
                state.memory.clone_from(&held);
                (held, Stage::Idle)
            }
            (Action::Show(_), Stage::Synced(after)) => {
                state.show(&after, self.writers);
                (held, Stage::Shown(after))
            }
            (Action::Answer(_), Stage::Shown(after)) => {
                state.acknowledge(&held, &after);
                (after, Stage::Idle)
            }
            _ => return None,
        };
        state.processes[p] = Process::Up { held, stage };
        Some(())
    }
}

impl Model for HeadSigning {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            durable: Log::new(),
            cached: Log::new(),
            backup: None,
            memory: Log::new(),
            processes: [Process::Down, Process::Down],
            shown: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            refused: BTreeSet::new(),
            faults: self.faults,
            restores: self.restores,
            lost: false,
            unwanted: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for p in 0..self.writers() {
            match &state.processes[p] {
                Process::Up { held, stage } => self.round_actions(state, p, held, stage, actions),
                Process::Down | Process::Ended => actions.push(Action::Start(p)),
                // Until an operator puts another folder there.
                Process::Refused => {}
            }
        }
        if state.faults > 0 {
            actions.push(Action::PowerCut);
        }
        if state.restores > 0 {
            if state.backup.is_none() {
                actions.push(Action::Backup);
            } else if !state.any_up() {
                actions.push(Action::Restore);
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match &action {
            Action::Draw(p, batch) => self.draw(&mut state, *p, batch)?,
            Action::Append(p) => self.append(&mut state, *p)?,
            Action::FailAppend(p, written) | Action::FailSync(p, written) => {
                self.unknown(&mut state, *p, *written)?;
            }
            Action::Refuse(p) => {
                let Process::Up { held, stage } = &mut state.processes[*p] else { return None };
                let Stage::Signed(after) = std::mem::replace(stage, Stage::Idle) else { return None };
                state.refused.extend(&after[held.len()..]);
                state.faults -= 1;
            }
            Action::Sync(p) | Action::Remember(p) | Action::Show(p) | Action::Answer(p) => {
                self.proceed(&mut state, *p, &action)?;
            }
            Action::Kill(p) => {
                state.processes[*p] = Process::Down;
                state.faults -= 1;
            }
            Action::PowerCut => {
                state.processes = [Process::Down, Process::Down];
                state.cached.clone_from(&state.durable);
                state.faults -= 1;
            }
            Action::Start(p) => self.start(&mut state, *p),
            Action::Backup => state.backup = Some(state.cached.clone()),
            Action::Restore => {
                state.cached = state.backup.clone()?;
                state.durable.clone_from(&state.cached);
                state.processes = [Process::Down, Process::Down];
                state.restores -= 1;
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("any two heads that were seen are consistent", |_, state: &State| {
                let mut heads = state.shown.iter().peekable();
                // In the order of a set each list stands right before those that it begins.
                while let Some(head) = heads.next() {
                    if heads.peek().is_some_and(|next| !next.starts_with(head)) {
                        return false;
                    }
                }
                true
            }),
            Property::always("an acknowledged entry is in every later head", |_, state: &State| !state.lost),
            Property::always("what was certainly not added is in no head", |_, state: &State| {
                !state.unwanted
            }),
            Property::sometimes("everything is acknowledged", |model: &Self, state: &State| {
                state.acknowledged.len() == usize::from(model.entries)
            }),
            Property::sometimes("a process ended by itself", |_, state: &State| {
                state.processes.contains(&Process::Ended)
            }),
            Property::sometimes("an entry was refused", |_, state: &State| !state.refused.is_empty()),
            Property::sometimes("a start was refused", |_, state: &State| {
                state.processes.contains(&Process::Refused)
            }),
        ]
    }
}
